# SPDX-License-Identifier: LGPL-2.1-or-later
# Completion of xensnap for fish: the program itself knows what fits.

function __xensnap_offer
    set -l words (commandline -opc) (commandline -ct)
    $words[1] __complete $words[2..-1] 2>/dev/null
end

complete -c xensnap -f -a '(__xensnap_offer)'
complete -c xensnap -l memory-path -r -F
