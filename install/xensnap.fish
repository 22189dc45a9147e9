# SPDX-License-Identifier: LGPL-2.1-or-later
# Completion of xensnap for fish: the program itself knows what fits.

function __xensnap_offer
    set -l words (commandline -opc)
    set -l typed (commandline -ct)
    # What it means without quotes; the last one may be open.
    for end in '' "'" '"'
        set -l plain (string unescape -- "$typed$end")
        and set typed "$plain"
        and break
    end
    $words[1] __complete $words[2..-1] "$typed" 2>/dev/null
end

function __xensnap_wants_path
    __xensnap_offer >/dev/null
    test $status -eq 10
end

complete -c xensnap -f -n 'not __xensnap_wants_path' -a '(__xensnap_offer)'
complete -c xensnap -n __xensnap_wants_path -F
