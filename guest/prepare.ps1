# STEP: prepare
<#
.SYNOPSIS
Cleans the build machine before sysprep, and refuses while Windows waits for a restart.

.DESCRIPTION
Removes what must not be in an image: the Azure Virtual Desktop agent and its registration, what earlier extensions left in
C:\Packages\Plugins (a new host's extensions would not run beside it), and old setup logs. Makes sure that the settings that
sysprep and Azure need are there. Running it again does no harm.

A pending restart is answered with "reboot_pending": true and exit code 1: restart the machine, then run this again.

Source: learn.microsoft.com, "Remove machine specific information by generalizing a VM", "Set up a golden image".
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
    $removed = @(Remove-AvdAgent) + @(Remove-PluginRemains)
    Clear-Panther
    Set-Preconditions
    Complete-Step -Ok $true -Facts @{ removed = $removed }
} catch {
    Complete-Step -Ok $false -Facts @{ error = "$_" }
}
