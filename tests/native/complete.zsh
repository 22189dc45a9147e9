# SPDX-License-Identifier: LGPL-2.1-or-later
# Prints what zsh offers behind a command line: a shell of its own on a terminal of
# its own is typed at, as a person would, and its completer tells each match, and at
# last what has become of the line.
#
#     zsh -f complete.zsh FOLDER LINE     FOLDER holds _xensnap
zmodload zsh/zpty

zpty shell zsh -f -i
type_line() {
	zpty -w shell "$1"
}
wait_for() {
	local piece seen=
	while zpty -r shell piece; do
		seen+=$piece
		[[ $seen == *$1* ]] && break
	done
	REPLY=$seen
}
type_line "PS1= PS2= RPS1=; unsetopt zle_bracketed_paste; fpath=(${(q)1} \$fpath)"
type_line "autoload -U compinit; compinit -u -C -d $HOME/zcompdump; zstyle ':completion:*' verbose no"
# Instead of inserting anything: each match on a line of its own, between marks.
type_line 'compadd() {
	local -a found
	[[ ${@[(r)-O]} == -O || ${@[(r)-A]} == -A || ${@[(r)-D]} == -D ]] &&
		{ builtin compadd "$@"; return }
	builtin compadd -O found "$@"
	builtin compadd "$@"
	(( $#found )) && print -rl -- MATCH-$^found
}'
type_line 'told() { zle expand-or-complete; print -r; print -r -- "LINE-$BUFFER-END"; print END-OF-MATCHES; zle kill-whole-line }'
type_line "zle -N told; bindkey '^I' told; print SHELL-IS-\${:-READY}"
wait_for SHELL-IS-READY
zpty -w -n shell "$2"$'\t'
wait_for END-OF-MATCHES
print -r -- "$REPLY" | tr -d '\r' | grep -o -e 'MATCH-.*' -e 'LINE-.*-END' | sed 's,^MATCH-,,'
