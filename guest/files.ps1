# STEP: files
<#
.SYNOPSIS
Puts files on the machine, each as it is, and proves it by its SHA-256.

.DESCRIPTION
The list stands in this script, where the build has put it: small files with their content (gzip, base64), others with the URL they are
fetched from. A file that is there and the same is left alone, so running it again changes nothing. What a URL gives is only taken where
its SHA-256 is the one asked for.

.PARAMETER QuerySecret
Is added to each URL, such as a SAS token. To be given as a protected parameter.
#>
[CmdletBinding()]
param([string] $QuerySecret = '')

$Step = 'files'
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

$List = '[]' # the build writes the list of files into this line

function Expand-Content {
    param([string] $Text)
    $packed = New-Object -TypeName IO.MemoryStream -ArgumentList (, [Convert]::FromBase64String($Text))
    $gzip = New-Object -TypeName IO.Compression.GZipStream -ArgumentList $packed, ([IO.Compression.CompressionMode]::Decompress)
    $whole = New-Object -TypeName IO.MemoryStream
    $gzip.CopyTo($whole)
    $gzip.Dispose()
    , $whole.ToArray()
}

function Test-File {
    param([string] $Path, [string] $Wanted)
    (Test-Path -LiteralPath $Path -PathType Leaf) -and (Get-FileHash -LiteralPath $Path -Algorithm SHA256).Hash -eq $Wanted
}

function Add-File {
    param([object] $File)
    $folder = Split-Path -Path $File.destination -Parent
    $null = New-Item -Path $folder -ItemType Directory -Force
    # Beside its place, and moved there when it is whole: nobody ever finds half of it.
    $beside = "$($File.destination).evergold"
    if ($File.url) {
        Invoke-WebRequest -UseBasicParsing -Uri ($File.url + $QuerySecret) -OutFile $beside
    } else {
        [IO.File]::WriteAllBytes($beside, (Expand-Content -Text $File.content))
    }
    if (-not (Test-File -Path $beside -Wanted $File.sha256)) {
        $found = (Get-FileHash -LiteralPath $beside -Algorithm SHA256).Hash
        Remove-Item -LiteralPath $beside -Force
        throw "It is not what was asked for: its SHA-256 is $found."
    }
    Move-Item -LiteralPath $beside -Destination $File.destination -Force
}

$written = 0
$same = 0
$at = 'the list of files'
try {
    [Net.ServicePointManager]::SecurityProtocol = [Net.ServicePointManager]::SecurityProtocol -bor [Net.SecurityProtocolType]::Tls12
    $files = ConvertFrom-Json -InputObject $List
    foreach ($file in $files) {
        $at = $file.destination
        if (Test-File -Path $file.destination -Wanted $file.sha256) { $same++; continue }
        Add-File -File $file
        $written++
    }
    Complete-Step -Ok $true -Facts @{ written = $written; unchanged = $same }
} catch {
    $problem = "$_"
    if ($QuerySecret) { $problem = $problem.Replace($QuerySecret, '***') }
    Complete-Step -Ok $false -Facts @{ error = "${at}: $problem"; written = $written; unchanged = $same }
}
