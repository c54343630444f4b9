# STEP: preflight
<#
.SYNOPSIS
Looks for what would break sysprep or spoil the image, and changes nothing.

.DESCRIPTION
Answers with findings, each with a verdict: "pass"; "warn" for what prepare takes away, or what somebody should know; "wait" while Windows is
still servicing itself; "fail" for what sysprep is known to break on and only a customise step can mend. Running it again does no harm.

Source: learn.microsoft.com, "Sysprep fails with Microsoft Store apps", "Sysprep (Generalize) a Windows installation";
SoftwareLicensingService, Win32_ComputerSystem.
#>
[CmdletBinding()]
param()

$Step = 'preflight'
# --- The one way in which a script of Evergold answers: a JSON line, the last of its output, and exit code 0 only if ok. ---
Set-StrictMode -Version 2
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'

function Format-Answer {
    param([System.Collections.IDictionary] $Answer)
    $json = ConvertTo-Json -InputObject $Answer -Compress -Depth 4
    [regex]::Replace($json, '[^\x20-\x7e]', { param($match) '\u{0:x4}' -f [int][char] $match.Value })
}

function Complete-Step {
    param([bool] $Ok, [System.Collections.IDictionary] $Facts = @{})
    $answer = [ordered]@{ ok = $Ok; step = $Step }
    foreach ($name in $Facts.Keys) { $answer[$name] = $Facts[$name] }
    $line = Format-Answer -Answer $answer
    # Azure brings back the last 4 KB of output only: the longest text loses its beginning until the line fits.
    while ($line.Length -gt 3600) {
        $longest = @($answer.Keys) | Where-Object { $answer[$_] -is [string] } |
            Sort-Object -Property { $answer[$_].Length } | Select-Object -Last 1
        if ($answer[$longest].Length -lt 100) { break }
        $answer[$longest] = $answer[$longest].Substring(100)
        $line = Format-Answer -Answer $answer
    }
    [Console]::Out.WriteLine($line)
    exit [int](-not $Ok)
}
# --- What this script does. ---

function New-Finding {
    param([string] $Name, [string] $Verdict, [string] $Measured, [string] $Remedy = '')
    [ordered]@{ name = $Name; verdict = $Verdict; measured = $Measured; remedy = $Remedy }
}

function Test-Restart {
    $servicing = 'HKLM:\SOFTWARE\Microsoft\Windows\CurrentVersion\Component Based Servicing'
    $update = 'HKLM:\SOFTWARE\Microsoft\Windows\CurrentVersion\WindowsUpdate\Auto Update\RebootRequired'
    if ((Test-Path -Path "$servicing\RebootPending") -or (Test-Path -Path $update)) {
        return New-Finding -Name 'restart' -Verdict 'warn' -Measured 'Windows waits for a restart.' -Remedy 'It gets one before sysprep.'
    }
    New-Finding -Name 'restart' -Verdict 'pass' -Measured 'None is pending.'
}

function Test-Servicing {
    $servicing = 'HKLM:\SOFTWARE\Microsoft\Windows\CurrentVersion\Component Based Servicing'
    $sessions = Get-ItemProperty -Path "$servicing\SessionsPending" -Name 'Exclusive' -ErrorAction SilentlyContinue
    if ((Test-Path -Path "$servicing\PackagesPending") -or ($sessions -and $sessions.Exclusive -ne 0)) {
        return New-Finding -Name 'servicing' -Verdict 'wait' -Measured 'Windows is servicing itself.' `
            -Remedy 'Wait until its updates are done; a restart as the last customise step helps.'
    }
    New-Finding -Name 'servicing' -Verdict 'pass' -Measured 'Nothing is under way.'
}

function Test-Package {
    $provisioned = @(Get-AppxProvisionedPackage -Online | ForEach-Object { $_.DisplayName })
    $alone = @(Get-AppxPackage -AllUsers | Where-Object {
            -not $_.IsFramework -and -not $_.IsResourcePackage -and -not $_.NonRemovable -and $_.SignatureKind -ne 'System' -and
            $_.Name -notin $provisioned -and @($_.PackageUserInformation | Where-Object { "$_" -match ': Installed' })
        } | ForEach-Object { $_.PackageFullName } | Sort-Object -Unique)
    if ($alone) {
        $named = @($alone | Select-Object -First 5) -join ', '
        return New-Finding -Name 'apps' -Verdict 'fail' -Measured "$($alone.Count) apps were installed for one user only: $named." `
            -Remedy 'Provision each for all users, or remove it for all users (Remove-AppxPackage -AllUsers), in a customise script.'
    }
    New-Finding -Name 'apps' -Verdict 'pass' -Measured 'Every app is provisioned for all users.'
}

function Test-Rearm {
    $left = (Get-CimInstance -ClassName SoftwareLicensingService).RemainingWindowsReArmCount
    if ($left -lt 1) {
        return New-Finding -Name 'generalised before' -Verdict 'fail' -Measured 'This Windows was generalised as often as it may be.' `
            -Remedy 'Build from a marketplace image instead of from an image of an image.'
    }
    New-Finding -Name 'generalised before' -Verdict 'pass' -Measured "It may be generalised $left times more."
}

function Test-Encryption {
    if (-not (Get-Command -Name 'Get-BitLockerVolume' -ErrorAction SilentlyContinue)) {
        return New-Finding -Name 'BitLocker' -Verdict 'pass' -Measured 'It is not installed.'
    }
    $encrypted = @(Get-BitLockerVolume | Where-Object { $_.VolumeStatus -ne 'FullyDecrypted' } | ForEach-Object { $_.MountPoint })
    if ($encrypted) {
        return New-Finding -Name 'BitLocker' -Verdict 'warn' -Measured "It is on for $($encrypted -join ', ')." `
            -Remedy 'It is switched off before sysprep; decrypting takes minutes to hours. Keep policies away that switch it on.'
    }
    New-Finding -Name 'BitLocker' -Verdict 'pass' -Measured 'No volume is encrypted.'
}

function Test-Membership {
    $status = (& "$env:SystemRoot\System32\dsregcmd.exe" /status) -join "`n"
    $found = @()
    if ((Get-CimInstance -ClassName Win32_ComputerSystem).PartOfDomain) { $found += 'a member of a domain' }
    if ($status -match 'AzureAdJoined\s*:\s*YES') { $found += 'joined to Entra ID' }
    if ($status -match 'MdmUrl\s*:\s*https') { $found += 'managed by Intune' }
    if ($found) {
        return New-Finding -Name 'membership' -Verdict 'warn' -Measured "It is $($found -join ' and ')." -Remedy 'It leaves before sysprep.'
    }
    New-Finding -Name 'membership' -Verdict 'pass' -Measured 'It has joined nothing.'
}

function Test-Defender {
    $key = 'HKLM:\SOFTWARE\Microsoft\Windows Advanced Threat Protection'
    if (Get-ItemProperty -Path $key -Name 'senseGuid' -ErrorAction SilentlyContinue) {
        return New-Finding -Name 'Defender' -Verdict 'warn' -Measured 'It has an identity in Defender for Endpoint.' -Remedy 'It loses it before sysprep.'
    }
    New-Finding -Name 'Defender' -Verdict 'pass' -Measured 'It is not onboarded.'
}

function Test-Layout {
    $system = Get-Partition -DriveLetter $env:SystemDrive.Substring(0, 1)
    $behind = @(Get-Partition -DiskNumber $system.DiskNumber | Where-Object { $_.Offset -gt $system.Offset })
    $others = @(Get-Volume | Where-Object { $_.DriveType -eq 'Fixed' -and $_.DriveLetter -and $_.FileSystemLabel -ne 'Temporary Storage' } |
            Where-Object { (Get-Partition -DriveLetter $_.DriveLetter).DiskNumber -ne $system.DiskNumber })
    if ($others) {
        return New-Finding -Name 'disks' -Verdict 'warn' -Measured "There are data disks: $($others.DriveLetter -join ', ')." `
            -Remedy 'What is on them is not in the image: install to the system disk.'
    }
    if ($behind) {
        return New-Finding -Name 'disks' -Verdict 'warn' -Measured "$($behind.Count) partitions lie behind the system's." `
            -Remedy 'The system partition cannot grow on larger disks: remove the recovery partition in a customise script.'
    }
    New-Finding -Name 'disks' -Verdict 'pass' -Measured 'The system partition is the last one of the only disk.'
}

try {
    $tests = 'Test-Restart', 'Test-Servicing', 'Test-Package', 'Test-Rearm', 'Test-Encryption', 'Test-Membership', 'Test-Defender', 'Test-Layout'
    Complete-Step -Ok $true -Facts @{ findings = @($tests | ForEach-Object { & $_ }) }
} catch {
    Complete-Step -Ok $false -Facts @{ error = "$_" }
}
