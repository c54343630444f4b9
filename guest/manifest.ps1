# STEP: manifest
<#
.SYNOPSIS
Says what is on the machine: Windows build, hotfixes, optional features and software.

.DESCRIPTION
Reads, and changes nothing. What it found is JSON, compressed, as base64 text, and is handed out a page at a time, since Azure brings
back no more than the last 4 KB of a script's output. The digest is of the JSON (SHA-256): pages belong together only if theirs are the same.

.PARAMETER Page
Which page, from 1. The answer says how many there are.
#>
[CmdletBinding()]
param([ValidateRange(1, 99)] [int] $Page = 1)

$Step = 'manifest'
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

$PageLength = 3000

function Get-OperatingSystem {
    $windows = Get-ItemProperty -Path 'HKLM:\SOFTWARE\Microsoft\Windows NT\CurrentVersion'
    [ordered]@{
        name  = (Get-CimInstance -ClassName Win32_OperatingSystem).Caption -replace '^Microsoft ', ''
        build = "$($windows.CurrentBuildNumber).$($windows.UBR)"
    }
}

function Get-Software {
    $versions = @{}
    $keys = 'HKLM:\SOFTWARE\Microsoft\Windows\CurrentVersion\Uninstall\*',
    'HKLM:\SOFTWARE\WOW6432Node\Microsoft\Windows\CurrentVersion\Uninstall\*'
    foreach ($entry in Get-ItemProperty -Path $keys -ErrorAction SilentlyContinue) {
        $values = $entry.PSObject.Properties
        if (-not $values['DisplayName'] -or -not $entry.DisplayName) { continue }
        if ($values['SystemComponent'] -and $entry.SystemComponent -eq 1) { continue }
        $version = if ($values['DisplayVersion']) { "$($entry.DisplayVersion)" } else { '' }
        $versions[$entry.DisplayName] = @($versions[$entry.DisplayName]) + $version | Where-Object { $_ } | Sort-Object -Unique
    }
    $software = [ordered]@{}
    foreach ($name in $versions.Keys | Sort-Object) { $software[$name] = @($versions[$name]) -join ', ' }
    $software
}

function Compress-Text {
    param([byte[]] $Bytes)
    $buffer = New-Object -TypeName IO.MemoryStream
    $gzip = New-Object -TypeName IO.Compression.GZipStream -ArgumentList $buffer, ([IO.Compression.CompressionLevel]::Optimal)
    $gzip.Write($Bytes, 0, $Bytes.Length)
    $gzip.Dispose()
    [Convert]::ToBase64String($buffer.ToArray())
}

function Get-Digest {
    param([byte[]] $Bytes)
    $hash = [Security.Cryptography.SHA256]::Create().ComputeHash($Bytes)
    -join ($hash | ForEach-Object { $_.ToString('x2') })
}

try {
    $found = [ordered]@{
        os       = Get-OperatingSystem
        hotfixes = @(Get-HotFix | ForEach-Object { $_.HotFixID } | Sort-Object -Unique)
        features = @(Get-WindowsOptionalFeature -Online | Where-Object { "$($_.State)" -eq 'Enabled' } | ForEach-Object { $_.FeatureName } | Sort-Object -Unique)
        software = Get-Software
    }
    $bytes = [Text.Encoding]::UTF8.GetBytes((ConvertTo-Json -InputObject $found -Compress -Depth 4))
    $text = Compress-Text -Bytes $bytes
    $pages = [int][Math]::Ceiling($text.Length / $PageLength)
    if ($Page -gt $pages) { throw "There are $pages pages, and page $Page was asked for." }
    $start = ($Page - 1) * $PageLength
    $chunk = $text.Substring($start, [Math]::Min($PageLength, $text.Length - $start))
    Complete-Step -Ok $true -Facts @{ page = $Page; pages = $pages; digest = (Get-Digest -Bytes $bytes); chunk = $chunk }
} catch {
    Complete-Step -Ok $false -Facts @{ error = "$_" }
}
