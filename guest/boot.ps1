# STEP: boot
<#
.SYNOPSIS
Says whether Windows, on a machine that was made from an image, has come up whole.

.DESCRIPTION
Reads, and changes nothing. Waits until Windows has ended its setup, and then looks at its state and at the packages that its desktop is
made of: where sysprep ran under the wrong account they are not registered, and people see a black screen (Windows 11 24H2 and newer;
learn.microsoft.com, "Sysprep as SYSTEM on Windows 11").

.PARAMETER WaitMinutes
How long Windows may take to end its setup.
#>
[CmdletBinding()]
param([ValidateRange(1, 60)] [int] $WaitMinutes = 15)

$Step = 'boot'
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

$FirstWithPackages = 26100
$DesktopPackages = 'MicrosoftWindows.Client.CBS', 'Microsoft.UI.Xaml.CBS', 'MicrosoftWindows.Client.Core'

function Test-SetupEnded {
    $setup = Get-ItemProperty -Path 'HKLM:\SYSTEM\Setup'
    foreach ($name in 'SystemSetupInProgress', 'OOBEInProgress') {
        if ($setup.PSObject.Properties[$name] -and $setup.$name -ne 0) { return $false }
    }
    $true
}

try {
    $until = (Get-Date).AddMinutes($WaitMinutes)
    while (-not (Test-SetupEnded) -and (Get-Date) -lt $until) { Start-Sleep -Seconds 15 }
    $windows = Get-ItemProperty -Path 'HKLM:\SOFTWARE\Microsoft\Windows NT\CurrentVersion'
    $state = (Get-ItemProperty -Path 'HKLM:\SOFTWARE\Microsoft\Windows\CurrentVersion\Setup\State').ImageState
    $facts = [ordered]@{ build = "$($windows.CurrentBuildNumber).$($windows.UBR)"; image_state = $state }
    if (-not (Test-SetupEnded)) { throw "Windows has not ended its setup after $WaitMinutes minutes." }
    if ($state -ne 'IMAGE_STATE_COMPLETE') { throw "Windows is not whole: its image state is $state." }
    if ([int] $windows.CurrentBuildNumber -ge $FirstWithPackages) {
        $there = @(Get-AppxPackage -AllUsers | ForEach-Object { $_.Name })
        $missing = @($DesktopPackages | Where-Object { $there -notcontains $_ })
        if ($missing.Count) { throw "Packages of the desktop are not registered: $($missing -join ', ')." }
    }
    Complete-Step -Ok $true -Facts $facts
} catch {
    Complete-Step -Ok $false -Facts @{ error = "$_" }
}
