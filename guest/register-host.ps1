# STEP: register-host
<#
.SYNOPSIS
Installs the Azure Virtual Desktop agent and its boot loader, and registers the machine in a host pool.

.DESCRIPTION
A machine that is registered already is left as it is. An agent that is there and not registered gets the token and is started
again; running its installer a second time would not register it. A retained host that is switched on again still believes that it is
registered, though its record in the pool was deleted: it is told to register anew. The installers must carry Microsoft's signature. They are run without
logs, since an installer's log would hold the token.

Source: learn.microsoft.com, "Add session hosts to a host pool"; "Troubleshoot Azure Virtual Desktop Agent issues".

.PARAMETER RegistrationToken
Of the host pool. To be given as a protected parameter.

.PARAMETER Again
'yes': register anew, whatever the machine believes.

.PARAMETER AgentUri
Where the agent's installer is; change it to pin a version or to use a mirror.

.PARAMETER BootLoaderUri
Where the boot loader's installer is.

.PARAMETER TimeoutMinutes
How long to wait for the agent to be registered.
#>
[CmdletBinding()]
param(
    [Parameter(Mandatory = $true)] [string] $RegistrationToken,
    [ValidateSet('no', 'yes')] [string] $Again = 'no',
    [ValidatePattern('^https://')] [string] $AgentUri = 'https://go.microsoft.com/fwlink/?linkid=2310011',
    [ValidatePattern('^https://')] [string] $BootLoaderUri = 'https://go.microsoft.com/fwlink/?linkid=2311028',
    [ValidateRange(1, 60)] [int] $TimeoutMinutes = 15
)

$Step = 'register-host'
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

$Agent = 'HKLM:\SOFTWARE\Microsoft\RDInfraAgent'
$BootLoader = 'RDAgentBootLoader'

function Test-Registered {
    $state = Get-ItemProperty -Path $Agent -Name 'IsRegistered' -ErrorAction SilentlyContinue
    [bool]($state -and $state.IsRegistered -eq 1)
}

function Get-AgentVersion {
    $folder = Get-ChildItem -Path "$env:ProgramFiles\Microsoft RDInfra" -Directory -Filter 'RDAgent_*' -ErrorAction SilentlyContinue |
        Sort-Object -Property Name | Select-Object -Last 1
    if ($folder) { $folder.Name -replace '^RDAgent_', '' } else { '' }
}

function Save-Installer {
    param([string] $Uri, [string] $Name)
    $path = Join-Path -Path $env:TEMP -ChildPath $Name
    Invoke-WebRequest -Uri $Uri -OutFile $path -UseBasicParsing
    $signature = Get-AuthenticodeSignature -FilePath $path
    if ($signature.Status -ne 'Valid' -or $signature.SignerCertificate.Subject -notmatch 'O=Microsoft Corporation') {
        Remove-Item -Path $path -Force
        throw "What $Uri gave does not carry Microsoft's signature ($($signature.Status)), and was not run."
    }
    $path
}

function Install-Msi {
    param([string] $Path, [string[]] $Properties = @())
    $msi = Start-Process -FilePath 'msiexec.exe' -ArgumentList (@('/i', "`"$Path`"", '/quiet', '/norestart') + $Properties) -Wait -PassThru
    Remove-Item -Path $Path -Force
    if ($msi.ExitCode -notin 0, 3010) { throw "$(Split-Path -Path $Path -Leaf) could not be installed (msiexec: $($msi.ExitCode))." }
}

function Install-Agent {
    # In this order: the boot loader starts the agent.
    Install-Msi -Path (Save-Installer -Uri $AgentUri -Name 'RDAgent.msi') -Properties "REGISTRATIONTOKEN=$RegistrationToken"
    Install-Msi -Path (Save-Installer -Uri $BootLoaderUri -Name 'RDAgentBootLoader.msi')
}

function Reset-Registration {
    Set-ItemProperty -Path $Agent -Name 'RegistrationToken' -Value $RegistrationToken
    Set-ItemProperty -Path $Agent -Name 'IsRegistered' -Value 0
    Restart-Service -Name $BootLoader -Force
}

try {
    if ($Again -eq 'no' -and (Test-Registered)) { Complete-Step -Ok $true -Facts @{ already = $true; agent = Get-AgentVersion } }
    if (Get-Service -Name $BootLoader -ErrorAction SilentlyContinue) { Reset-Registration } else { Install-Agent }
    $deadline = (Get-Date).AddMinutes($TimeoutMinutes)
    while (-not (Test-Registered)) {
        if ((Get-Date) -gt $deadline) {
            throw "The agent was not registered after $TimeoutMinutes minutes: see event 3277 of source WVD-Agent on this machine."
        }
        Start-Sleep -Seconds 10
    }
    Complete-Step -Ok $true -Facts @{ already = $false; agent = Get-AgentVersion }
} catch {
    Complete-Step -Ok $false -Facts @{ error = "$_".Replace($RegistrationToken, '(token)') }
}
