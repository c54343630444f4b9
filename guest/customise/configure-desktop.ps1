# STEP: configure-desktop
<#
.SYNOPSIS
Settings that every desktop shall have, whoever signs in. An example: make it yours.

.DESCRIPTION
Writes registry values below HKEY_LOCAL_MACHINE, which survive sysprep and hold for all users. Running it again changes nothing.
Settings that differ by user belong into Intune or group policy, not into the image.

.PARAMETER DisconnectedLimitMinutes
After how many minutes a disconnected session is signed out; 0 for never.

.PARAMETER IdleLimitMinutes
After how many minutes without input a session is disconnected; 0 for never.

.PARAMETER TimeZoneRedirection
"true" to show users the time of the place where they are.
#>
[CmdletBinding()]
param(
    [ValidateRange(0, 10080)] [int] $DisconnectedLimitMinutes = 240,
    [ValidateRange(0, 10080)] [int] $IdleLimitMinutes = 0,
    [ValidateSet('true', 'false')] [string] $TimeZoneRedirection = 'true'
)

$Step = 'configure-desktop'
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

$TerminalServices = 'HKLM:\SOFTWARE\Policies\Microsoft\Windows NT\Terminal Services'
$StorageSense = 'HKLM:\SOFTWARE\Policies\Microsoft\Windows\StorageSense'

function Set-Value {
    # Returns the name if something was changed.
    param([string] $Path, [string] $Name, [int] $Value)
    if (-not (Test-Path -Path $Path)) { New-Item -Path $Path -Force | Out-Null }
    $present = Get-ItemProperty -Path $Path -Name $Name -ErrorAction SilentlyContinue
    if ($present -and $present.$Name -eq $Value) { return }
    New-ItemProperty -Path $Path -Name $Name -Value $Value -PropertyType DWord -Force | Out-Null
    $Name
}

try {
    $changed = @(
        Set-Value -Path $TerminalServices -Name 'MaxDisconnectionTime' -Value ($DisconnectedLimitMinutes * 60000)
        Set-Value -Path $TerminalServices -Name 'MaxIdleTime' -Value ($IdleLimitMinutes * 60000)
        Set-Value -Path $TerminalServices -Name 'fEnableTimeZoneRedirection' -Value ([int]($TimeZoneRedirection -eq 'true'))
        # Storage Sense would empty folders of users whose profiles are attached from elsewhere.
        Set-Value -Path $StorageSense -Name 'AllowStorageSenseGlobal' -Value 0
    )
    Complete-Step -Ok $true -Facts @{ changed = $changed }
} catch {
    Complete-Step -Ok $false -Facts @{ error = "$_" }
}
