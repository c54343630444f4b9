# STEP: install-apps
<#
.SYNOPSIS
Installs applications with winget, for all users. An example: make it yours.

.DESCRIPTION
Installs each package that is not there yet, machine-wide, in the newest version that the winget source has. Running it again
installs nothing twice. Packages that install for one user only make sysprep fail: the scope is fixed to "machine" here, and a
package that has no machine-wide installer is refused.

.PARAMETER Packages
winget package ids, separated by commas.

.PARAMETER Remove
Provisioned Windows apps to take out of the image, by the beginning of their names, separated by commas; "" for none.
#>
[CmdletBinding()]
param(
    [string] $Packages = '7zip.7zip,Notepad++.Notepad++',
    [string] $Remove = 'Microsoft.BingNews,Microsoft.GamingApp,Microsoft.Xbox'
)

$Step = 'install-apps'
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

function Split-List {
    param([string] $Text)
    @($Text -split ',' | ForEach-Object { $_.Trim() } | Where-Object { $_ })
}

function Find-Winget {
    # SYSTEM has no alias for winget: it is called by its full path, the newest one if there are several.
    $found = Get-ChildItem -Path "$env:ProgramFiles\WindowsApps\Microsoft.DesktopAppInstaller_*_x64__8wekyb3d8bbwe\winget.exe" |
        Sort-Object -Property { $_.VersionInfo.FileVersionRaw } | Select-Object -Last 1
    if (-not $found) { throw 'winget is not on this machine: add App Installer to the source image, or install without winget.' }
    $found.FullName
}

function Install-Package {
    param([string] $Winget, [string] $Id)
    & $Winget list --id $Id --exact --accept-source-agreements | Out-Null
    if ($LASTEXITCODE -eq 0) { return $false }
    $output = & $Winget install --id $Id --exact --scope machine --silent --disable-interactivity `
        --accept-package-agreements --accept-source-agreements
    if ($LASTEXITCODE -ne 0) { throw "winget could not install $Id (exit code $LASTEXITCODE): $(@($output)[-3..-1] -join ' ')" }
    $true
}

function Remove-ProvisionedApps {
    param([string[]] $Names)
    $removed = @()
    foreach ($app in Get-AppxProvisionedPackage -Online) {
        if (-not ($Names | Where-Object { $app.DisplayName.StartsWith($_) })) { continue }
        # Both: an app that is installed for a user, and no longer provisioned, stops sysprep.
        Get-AppxPackage -AllUsers -Name $app.DisplayName | Remove-AppxPackage -AllUsers
        Remove-AppxProvisionedPackage -Online -PackageName $app.PackageName | Out-Null
        $removed += $app.DisplayName
    }
    $removed
}

try {
    $winget = Find-Winget
    $installed = @(Split-List $Packages | Where-Object { Install-Package -Winget $winget -Id $_ })
    $names = @(Split-List $Remove)
    $removed = @(if ($names) { Remove-ProvisionedApps -Names $names })
    Complete-Step -Ok $true -Facts @{ installed = $installed; removed = $removed }
} catch {
    Complete-Step -Ok $false -Facts @{ error = "$_" }
}
