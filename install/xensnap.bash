# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# Completion of xensnap for bash: the program itself knows what fits.

_xensnap() {
	local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]}

	COMPREPLY=()
	if [[ $before == --memory-path ]]; then
		mapfile -t COMPREPLY < <(compgen -f -- "$word")
		return
	fi
	mapfile -t COMPREPLY < <("${COMP_WORDS[0]}" __complete \
		"${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
}

complete -F _xensnap xensnap
