# STEP: local-administrator
<#
.SYNOPSIS
Gives a local account a new password and makes it an administrator, so that sysprep can run under it.

.DESCRIPTION
The password comes from outside, is used for the next minutes, and is kept nowhere. Running it again sets another one: that is how
a build whose password was lost with its process goes on. Also starts the Secondary Logon service, without which Azure cannot run
a script under an account.

.PARAMETER UserName
The account; made if it is not there.

.PARAMETER Password
Its new password. To be given as a protected parameter.
#>
[CmdletBinding()]
param(
    [Parameter(Mandatory = $true)] [string] $UserName,
    [Parameter(Mandatory = $true)] [string] $Password
)

$Step = 'local-administrator'
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
    $secret = ConvertTo-SecureString -String $Password -AsPlainText -Force
    if (Get-LocalUser -Name $UserName -ErrorAction SilentlyContinue) {
        Set-LocalUser -Name $UserName -Password $secret
        Enable-LocalUser -Name $UserName
    } else {
        New-LocalUser -Name $UserName -Password $secret -Description 'Runs sysprep' | Out-Null
    }
    $administrators = 'S-1-5-32-544'
    $account = (Get-LocalUser -Name $UserName).SID.Value
    if ($account -notin @(Get-LocalGroupMember -SID $administrators | ForEach-Object { $_.SID.Value })) {
        Add-LocalGroupMember -SID $administrators -Member $UserName
    }
    Set-Service -Name 'seclogon' -StartupType Manual
    Start-Service -Name 'seclogon'
    Complete-Step -Ok $true -Facts @{ user = $UserName }
} catch {
    Complete-Step -Ok $false -Facts @{ error = "$_" }
}
