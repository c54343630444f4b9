# STEP: check-fslogix
<#
.SYNOPSIS
Looks whether profiles can be mounted: FSLogix is on, its services run, and the profile shares answer.

.DESCRIPTION
Reads, and changes nothing. It runs as SYSTEM, so a share that lets only people in cannot be opened by it: what is tried is whether
the file server answers on port 445. A share that names no server is a warning.
#>
[CmdletBinding()]
param()

$Step = 'check-fslogix'
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

try {
    $settings = Get-ItemProperty -Path 'HKLM:\SOFTWARE\FSLogix\Profiles' -ErrorAction SilentlyContinue
    $enabled = $null -ne $settings -and $settings.PSObject.Properties['Enabled'] -and $settings.Enabled -eq 1
    if (-not $enabled) { Complete-Step -Ok $false -Facts @{ error = 'FSLogix profiles are not switched on (HKLM:\SOFTWARE\FSLogix\Profiles, Enabled).' } }

    $stopped = @('frxsvc', 'frxccds' | Where-Object {
        $service = Get-Service -Name $_ -ErrorAction SilentlyContinue
        $null -eq $service -or $service.Status -ne 'Running'
    })
    if ($stopped -contains 'frxsvc') { Complete-Step -Ok $false -Facts @{ error = 'The FSLogix service (frxsvc) does not run.' } }

    $locations = @()
    foreach ($name in 'VHDLocations', 'CCDLocations') {
        if ($settings.PSObject.Properties[$name]) { $locations += @($settings.$name) }
    }
    $servers = @([regex]::Matches(($locations -join ';'), '\\\\([^\\;,]+)\\') | ForEach-Object { $_.Groups[1].Value } | Sort-Object -Unique)
    $silent = @($servers | Where-Object {
        $client = New-Object System.Net.Sockets.TcpClient
        try { -not $client.ConnectAsync($_, 445).Wait(5000) } catch { $true } finally { $client.Close() }
    })
    if ($silent.Count) { Complete-Step -Ok $false -Facts @{ error = "These file servers do not answer on port 445: $($silent -join ', ')." } }
    $measured = "On, its service runs, $($servers.Count) file servers answer."
    if (-not $servers.Count) { Complete-Step -Ok $true -Facts @{ warning = 'FSLogix is on, and names no file server in VHDLocations or CCDLocations.' } }
    Complete-Step -Ok $true -Facts @{ measured = $measured }
} catch {
    Complete-Step -Ok $false -Facts @{ error = "$_" }
}
