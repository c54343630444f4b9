# STEP: sysprep
<#
.SYNOPSIS
Generalises Windows: sysprep /generalize /oobe /mode:vm /quit.

.DESCRIPTION
To be run under a local administrator. As SYSTEM sysprep is not supported on Windows 11 24H2 and later and on Windows Server 2025,
and leaves a shell that does not start; this script refuses it. The machine keeps running (/quit), so that the result can be read
before it is switched off. Clears sysprep's old logs first, stops sysprep when it takes too long, and on failure brings back
the ends of its logs. A machine that is generalised already is left as it is.

Source: learn.microsoft.com, "Sysprep as SYSTEM on Windows 11"; "Sysprep (Generalize) a Windows installation".

.PARAMETER TimeoutMinutes
How long sysprep may take.
#>
[CmdletBinding()]
param([ValidateRange(1, 240)] [int] $TimeoutMinutes = 30)

$Step = 'sysprep'
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

$Generalised = 'IMAGE_STATE_GENERALIZE_RESEAL_TO_OOBE'
$Logs = 'C:\Windows\System32\Sysprep\Panther'

function Get-ImageState {
    (Get-ItemProperty -Path 'HKLM:\SOFTWARE\Microsoft\Windows\CurrentVersion\Setup\State').ImageState
}

function Get-LogTail {
    param([string] $Name, [int] $Characters)
    $path = Join-Path -Path $Logs -ChildPath $Name
    if (-not (Test-Path -Path $path)) { return '' }
    $text = @(Get-Content -Path $path -Tail 60) -join "`n"
    $text.Substring([Math]::Max(0, $text.Length - $Characters))
}

function Complete-Failure {
    param([string] $Problem)
    Complete-Step -Ok $false -Facts ([ordered]@{
            error       = $Problem
            image_state = Get-ImageState
            setuperr    = Get-LogTail -Name 'setuperr.log' -Characters 1500
            setupact    = Get-LogTail -Name 'setupact.log' -Characters 1500
        })
}

function Assert-Administrator {
    $identity = [Security.Principal.WindowsIdentity]::GetCurrent()
    if ($identity.IsSystem) { Complete-Failure -Problem 'Sysprep must run under a local administrator, and this is SYSTEM.' }
    $principal = New-Object -TypeName Security.Principal.WindowsPrincipal -ArgumentList $identity
    if (-not $principal.IsInRole([Security.Principal.WindowsBuiltInRole]::Administrator)) {
        Complete-Failure -Problem "Sysprep must run with full rights, and $($identity.Name) has none here."
    }
}

try {
    Assert-Administrator
    if ((Get-ImageState) -eq $Generalised) {
        Complete-Step -Ok $true -Facts @{ seconds = 0; image_state = $Generalised }
    }
    if (Test-Path -Path $Logs) { Remove-Item -Path "$Logs\*.log" -Force }
    $watch = [Diagnostics.Stopwatch]::StartNew()
    $sysprep = Start-Process -FilePath 'C:\Windows\System32\Sysprep\sysprep.exe' -PassThru `
        -ArgumentList '/generalize', '/oobe', '/mode:vm', '/quit', '/quiet'
    if (-not $sysprep.WaitForExit($TimeoutMinutes * 60000)) {
        $sysprep.Kill()
        Complete-Failure -Problem "Sysprep was not done after $TimeoutMinutes minutes and was stopped."
    }
    $state = Get-ImageState
    if ($state -ne $Generalised) { Complete-Failure -Problem "Sysprep ended, and the image state is $state." }
    Complete-Step -Ok $true -Facts @{ seconds = [int] $watch.Elapsed.TotalSeconds; image_state = $state }
} catch {
    Complete-Failure -Problem "$_"
}
