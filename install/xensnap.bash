# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# Completion of xensnap for bash: the program itself knows what fits.

# Sets REPLY to what a word of the line means, and quote to the kind of quote that it
# leaves open. Nothing of it is evaluated.
_xensnap_unquote() {
	local text=$1 char i

	REPLY='' quote=''
	for ((i = 0; i < ${#text}; i++)); do
		char=${text:i:1}
		case ${quote:-none}$char in
		\'\' | \"\") quote='' ;;
		none[\'\"]) quote=$char ;;
		\"\\)
			[[ ${text:i+1:1} != [\"\\\$\`] ]] || ((i++))
			REPLY+=${text:i:1}
			;;
		none\\)
			((i++))
			REPLY+=${text:i:1}
			;;
		*) REPLY+=$char ;;
		esac
	done
}

# As the word is to stand in the line, where it begins behind the open quote.
_xensnap_quote() {
	case $quote in
	\') REPLY=${1//\'/\'\\\'\'} ;;
	\")
		REPLY=${1//\\/\\\\}
		REPLY=${REPLY//\"/\\\"}
		REPLY=${REPLY//\$/\\\$}
		REPLY=${REPLY//\`/\\\`}
		;;
	*) printf -v REPLY %q "$1" ;;
	esac
}

# Sets words to those up to the cursor, without quotes, and before to the part of the
# last one that bash leaves alone: it takes words apart at "=" and ":"
# (COMP_WORDBREAKS), and replaces the last piece only.
_xensnap_words() {
	local line=${COMP_LINE:0:COMP_POINT} piece i gap

	words=() before=''
	for ((i = 0; i <= COMP_CWORD; i++)); do
		piece=${COMP_WORDS[i]}
		gap=${line%%[![:space:]]*}
		line=${line#"$gap"}
		# The cursor may stand inside the last one.
		[[ $line == "$piece"* ]] || piece=$line
		line=${line:${#piece}}
		if [[ $gap || $i -eq 0 ]]; then
			words+=('') before=''
		else
			before=${words[-1]}
		fi
		_xensnap_unquote "$piece"
		words[-1]+=$REPLY
	done
	[[ $piece != [=:]* ]] || before=${words[-1]}
}

_xensnap() {
	local words before quote REPLY path word offered

	COMPREPLY=()
	_xensnap_words
	offered=$("${COMP_WORDS[0]}" __complete "${words[@]:1}" 2>/dev/null)
	if (($? == 10)); then
		path=${words[-1]#"$offered"}
		compopt -o filenames
		before=${before#"$offered"}
		mapfile -t COMPREPLY < <(compgen -f -- "$path")
		COMPREPLY=("${COMPREPLY[@]#"$before"}")
		return
	fi
	[[ $offered ]] || return
	while IFS= read -r word; do
		_xensnap_quote "${word#"$before"}"
		COMPREPLY+=("$REPLY")
	done <<<"$offered"
}

complete -F _xensnap xensnap
