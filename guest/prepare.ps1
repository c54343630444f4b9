# STEP: prepare
<#
.SYNOPSIS
Cleans the build machine before sysprep, and refuses while Windows waits for a restart.

.DESCRIPTION
Removes what must not be in an image: the Azure Virtual Desktop agent and its registration; the Entra join, Intune enrolment, Defender
identity and domain membership that the copy of a session host brings along; what earlier extensions left in C:\Packages\Plugins (a new
host's extensions would not run beside it); and old setup logs. Makes sure that the settings that
sysprep and Azure need are there. Running it again does no harm.

A pending restart is answered with "reboot_pending": true and exit code 1: restart the machine, then run this again.

Source: learn.microsoft.com, "Remove machine specific information by generalizing a VM", "Set up a golden image"; Win32_ComputerSystem, UnjoinDomainOrWorkgroup.
#>
[CmdletBinding()]
param()

$Step = 'prepare'
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

# The extension that runs this very script.
$RunningHandler = 'Microsoft.CPlat.Core.RunCommandHandlerWindows'

function Get-PendingRestart {
    $reasons = @()
    $servicing = 'HKLM:\SOFTWARE\Microsoft\Windows\CurrentVersion\Component Based Servicing'
    if (Test-Path -Path "$servicing\RebootPending") { $reasons += 'Windows servicing' }
    if (Test-Path -Path "$servicing\RebootInProgress") { $reasons += 'Windows servicing, under way' }
    $update = 'HKLM:\SOFTWARE\Microsoft\Windows\CurrentVersion\WindowsUpdate\Auto Update\RebootRequired'
    if (Test-Path -Path $update) { $reasons += 'Windows Update' }
    $reasons
}

function Remove-AvdAgent {
    $removed = @()
    $uninstall = 'HKLM:\SOFTWARE\Microsoft\Windows\CurrentVersion\Uninstall\*'
    $products = Get-ItemProperty -Path $uninstall | Where-Object {
        $_.PSObject.Properties['DisplayName'] -and $_.DisplayName -match
        '^(Remote Desktop Services (Infrastructure (Agent|Geneva Agent)|SxS Network Stack)|Remote Desktop Agent Boot Loader)'
    }
    foreach ($product in $products) {
        $msi = Start-Process -FilePath 'msiexec.exe' -ArgumentList '/x', $product.PSChildName, '/quiet', '/norestart' -Wait -PassThru
        # 1605: was not installed any more; 3010: done, wants a restart
        if ($msi.ExitCode -notin 0, 1605, 3010) { throw "$($product.DisplayName) could not be removed (msiexec: $($msi.ExitCode))." }
        $removed += $product.DisplayName
    }
    foreach ($key in 'HKLM:\SOFTWARE\Microsoft\RDInfraAgent', 'HKLM:\SOFTWARE\Microsoft\RDAgentBootLoader') {
        if (Test-Path -Path $key) { Remove-Item -Path $key -Recurse -Force }
    }
    $removed
}

function Remove-PluginRemains {
    $removed = @()
    foreach ($folder in Get-ChildItem -Path 'C:\Packages\Plugins*\*' -Directory -ErrorAction SilentlyContinue) {
        if ($folder.Name -eq $RunningHandler) { continue }
        Remove-Item -Path $folder.FullName -Recurse -Force
        $removed += $folder.Name
    }
    $removed
}

function Remove-Enrolments {
    # What a copy of a session host brings along: the identity of the machine that it was copied from.
    $removed = @()
    if ((& "$env:SystemRoot\System32\dsregcmd.exe" /status) -match 'AzureAdJoined\s*:\s*YES') {
        & "$env:SystemRoot\System32\dsregcmd.exe" /leave | Out-Null
        if ($LASTEXITCODE -ne 0) { throw "The machine could not leave Entra ID (dsregcmd: $LASTEXITCODE)." }
        $removed += 'Entra join'
    }
    foreach ($enrolment in Get-ChildItem -Path 'HKLM:\SOFTWARE\Microsoft\Enrollments' -ErrorAction SilentlyContinue) {
        $provider = Get-ItemProperty -Path $enrolment.PSPath -Name 'ProviderID' -ErrorAction SilentlyContinue
        if (-not $provider -or $provider.ProviderID -ne 'MS DM Server') { continue }
        $id = $enrolment.PSChildName
        Get-ScheduledTask -TaskPath "\Microsoft\Windows\EnterpriseMgmt\$id\*" -ErrorAction SilentlyContinue |
            Unregister-ScheduledTask -Confirm:$false
        foreach ($key in 'Enrollments', 'Enrollments\Status', 'EnterpriseResourceManager\Tracked', 'PolicyManager\Providers', 'Provisioning\OMADM\Accounts') {
            Remove-Item -Path "HKLM:\SOFTWARE\Microsoft\$key\$id" -Recurse -Force -ErrorAction SilentlyContinue
        }
        $removed += 'Intune enrolment'
    }
    Get-ChildItem -Path 'Cert:\LocalMachine\My' | Where-Object { $_.Issuer -match 'Microsoft Intune MDM Device CA' } | Remove-Item -Force
    $removed
}

function Remove-DefenderIdentity {
    # As for other images of virtual desktops (learn.microsoft.com, "Onboard non-persistent virtual desktop infrastructure (VDI) devices").
    $key = 'HKLM:\SOFTWARE\Microsoft\Windows Advanced Threat Protection'
    if (-not (Get-ItemProperty -Path $key -Name 'senseGuid' -ErrorAction SilentlyContinue)) { return @() }
    Stop-Service -Name 'Sense' -Force -ErrorAction SilentlyContinue
    $kept = 'C:\ProgramData\Microsoft\Windows Defender Advanced Threat Protection\Cyber'
    Remove-Item -Path "$kept\*" -Recurse -Force -ErrorAction SilentlyContinue
    Remove-ItemProperty -Path $key -Name 'senseGuid' -Force
    @('Defender identity')
}

function Remove-DomainMembership {
    $computer = Get-CimInstance -ClassName Win32_ComputerSystem
    if (-not $computer.PartOfDomain) { return }
    # Options 0: leave without asking a domain controller, which cannot be reached from here. Sysprep refuses a member.
    $left = Invoke-CimMethod -InputObject $computer -MethodName UnjoinDomainOrWorkgroup -Arguments @{ FUnjoinOptions = [uint32] 0 }
    if ($left.ReturnValue -ne 0) { throw "The machine could not leave the domain $($computer.Domain) (code $($left.ReturnValue))." }
    Complete-Step -Ok $false -Facts @{ error = "It has left the domain $($computer.Domain), and needs a restart for it."; reboot_pending = $true }
}

function Clear-Panther {
    # Sysprep appends to its logs: an old failure would be read as a new one.
    foreach ($folder in 'C:\Windows\Panther', 'C:\Windows\System32\Sysprep\Panther') {
        if (Test-Path -Path $folder) { Get-ChildItem -Path $folder -Filter '*.log' | Remove-Item -Force -ErrorAction SilentlyContinue }
    }
}

function Set-Preconditions {
    # Without its CD drive a new machine cannot read Azure's settings, and stays in first-run setup.
    Set-ItemProperty -Path 'HKLM:\SYSTEM\CurrentControlSet\Services\cdrom' -Name 'Start' -Value 1
    if (-not (Get-Command -Name 'Get-BitLockerVolume' -ErrorAction SilentlyContinue)) { return }
    $encrypted = @(Get-BitLockerVolume | Where-Object { $_.VolumeStatus -ne 'FullyDecrypted' })
    if ($encrypted) {
        $encrypted | ForEach-Object { Disable-BitLocker -MountPoint $_.MountPoint | Out-Null }
        throw "BitLocker was on for $($encrypted.MountPoint -join ', '). It is being switched off: run this again in some minutes."
    }
}

try {
    $pending = @(Get-PendingRestart)
    if ($pending) {
        Complete-Step -Ok $false -Facts @{ error = "A restart is pending: $($pending -join ', ')."; reboot_pending = $true }
    }
    Remove-DomainMembership
    $removed = @(Remove-AvdAgent) + @(Remove-Enrolments) + @(Remove-DefenderIdentity) + @(Remove-PluginRemains)
    Clear-Panther
    Set-Preconditions
    Complete-Step -Ok $true -Facts @{ removed = $removed }
} catch {
    Complete-Step -Ok $false -Facts @{ error = "$_" }
}
