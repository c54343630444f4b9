# STEP: smoke
<#
.SYNOPSIS
Starts programs of the image, each for some seconds, and says which of them do not start.

.DESCRIPTION
A program has started if it still runs after that time or has ended with 0, and Windows has noted no crash of it. It is then stopped again.
Runs as SYSTEM on a host that nobody is on; first-run dialogs do no harm, since nobody has to answer them. A program that is not
installed is left out; none at all is a warning.

.PARAMETER Programs
Names of programs as Windows knows them (registry, App Paths), with commas between them: WINWORD.EXE,msedge.exe.

.PARAMETER Seconds
How long each of them is watched.
#>
[CmdletBinding()]
param(
    [Parameter(Mandatory = $true)] [string] $Programs,
    [int] $Seconds = 10
)

$Step = 'smoke'
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

# What a program needs to start where there is no screen.
$Arguments = @{ 'msedge.exe' = @('--headless=new', '--no-first-run', "--user-data-dir=$env:TEMP\evergold-smoke", 'about:blank') }

function Get-ProgramPath {
    param([string] $Name)
    foreach ($root in 'HKLM:\SOFTWARE\Microsoft\Windows\CurrentVersion\App Paths', 'HKLM:\SOFTWARE\WOW6432Node\Microsoft\Windows\CurrentVersion\App Paths') {
        $key = Get-Item -Path "$root\$Name" -ErrorAction SilentlyContinue
        $path = if ($key) { ([string] $key.GetValue('')).Trim('"') }
        if ($path -and (Test-Path -LiteralPath $path)) { return $path }
    }
}

function Test-Program {
    param([string] $Name, [string] $Path)
    $began = Get-Date
    $given = @{ FilePath = $Path; PassThru = $true; WindowStyle = 'Hidden' }
    if ($Arguments.ContainsKey($Name)) { $given.ArgumentList = $Arguments[$Name] }
    try { $process = Start-Process @given } catch { return "$Name could not be started: $_" }
    # Its exit code can only be read later where its handle was asked for while it ran.
    $null = $process.Handle
    $ended = $process.WaitForExit($Seconds * 1000)
    if (-not $ended) { Stop-Process -Id $process.Id -Force -ErrorAction SilentlyContinue }
    $crashes = @(Get-WinEvent -ErrorAction SilentlyContinue -FilterHashtable @{ LogName = 'Application'; ProviderName = 'Application Error'; StartTime = $began } |
        Where-Object { $_.Message -like "*$Name*" })
    if ($crashes.Count) { return "$Name crashed: $(($crashes[0].Message -split '\r?\n')[0])" }
    if ($ended -and $process.ExitCode -ne 0) { return "$Name ended by itself with $($process.ExitCode)" }
}

try {
    $found = [ordered]@{}
    foreach ($name in @($Programs -split ',' | ForEach-Object { $_.Trim() } | Where-Object { $_ })) {
        $path = Get-ProgramPath -Name $name
        if ($path) { $found[$name] = $path }
    }
    if (-not $found.Count) { Complete-Step -Ok $true -Facts @{ warning = "None of these is installed: $Programs." } }
    $problems = @($found.Keys | ForEach-Object { Test-Program -Name $_ -Path $found[$_] })
    Remove-Item -Path "$env:TEMP\evergold-smoke" -Recurse -Force -ErrorAction SilentlyContinue
    if ($problems.Count) { Complete-Step -Ok $false -Facts @{ error = "$($problems -join '; ')." } }
    Complete-Step -Ok $true -Facts @{ measured = "These start: $($found.Keys -join ', ')." }
} catch {
    Complete-Step -Ok $false -Facts @{ error = "$_" }
}
