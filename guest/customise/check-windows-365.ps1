# STEP: check-windows-365
<#
.SYNOPSIS
Looks whether Windows 365 would take an image of this machine, and stops the build where it would not.

.DESCRIPTION
Put it last under customise in an image set that has cloud_pcs. What it looks at can be seen from inside only: a join to Entra ID or a domain,
an enrolment in Intune, a recovery partition, Start-menu apps, FSLogix, the edition. Microsoft's rules: "Device images overview" on
learn.microsoft.com. It changes nothing.

.PARAMETER MostStartMenuApps
How many apps the Start menu may have.
#>
[CmdletBinding()]
param(
    [ValidateRange(1, 100000)] [int] $MostStartMenuApps = 3000
)

$Step = 'check-windows-365'
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

$Enrolments = 'HKLM:\SOFTWARE\Microsoft\Enrollments'
$CurrentVersion = 'HKLM:\SOFTWARE\Microsoft\Windows NT\CurrentVersion'
$RecoveryPartition = '{de94bba4-06d1-4d40-a16a-bfd50179d6ac}'

function Test-Joined {
    # A join, as dsregcmd tells it: lines such as "AzureAdJoined : YES".
    param([string] $Kind)
    [bool] (& "$env:SystemRoot\System32\dsregcmd.exe" /status | Where-Object { $_ -match "^\s*$Kind\s*:\s*YES" })
}

function Test-Enrolled {
    $keys = @(Get-ChildItem -Path $Enrolments -ErrorAction SilentlyContinue)
    [bool] ($keys | Where-Object { (Get-ItemProperty -Path $_.PSPath).PSObject.Properties.Name -contains 'UPN' })
}

function Get-Objections {
    $edition = (Get-ItemProperty -Path $CurrentVersion).EditionID
    # Enterprise alone: EnterpriseN, EnterpriseS (LTSC) and ServerRdsh (multi-session) are others.
    if ($edition -ne 'Enterprise') { "Windows is of the edition $edition, and only Enterprise (single-session) is taken" }
    if (Test-Joined -Kind 'AzureAdJoined') { 'the machine is joined to Entra ID' }
    if (Test-Joined -Kind 'DomainJoined') { 'the machine is joined to a domain' }
    if (Test-Enrolled) { 'the machine is enrolled in Intune' }
    if (Get-Partition | Where-Object { $_.GptType -eq $RecoveryPartition }) { 'there is a recovery partition' }
    if (Test-Path -Path "$env:ProgramFiles\FSLogix") { 'FSLogix is installed' }
    $apps = @(Get-StartApps).Count
    if ($apps -gt $MostStartMenuApps) { "the Start menu has $apps apps, and $MostStartMenuApps are taken" }
}

try {
    $objections = @(Get-Objections)
    if ($objections) { throw "Windows 365 would not take this image: $($objections -join '; ')." }
    Complete-Step -Ok $true -Facts @{ objections = 0 }
} catch {
    Complete-Step -Ok $false -Facts @{ error = "$_" }
}
