# Makes this zsh ask the gate before it runs anything. It is shells/local/guard.zshrc with another way to ask: a connection
# for each question, through a forward on the loopback interface, with a token. What that file says holds here as well.
command rm -f -- "$ZDOTDIR/.zshrc"
command rmdir -- "$ZDOTDIR"
unset ZDOTDIR
if [[ -r /etc/zsh/zprofile ]]; then source /etc/zsh/zprofile; elif [[ -r /etc/zprofile ]]; then source /etc/zprofile; fi
stty -echo
print -r -- sallyport:zsh
IFS=' ' read -r -t 30 __sallyport_port __sallyport_token
stty echo
typeset -r __sallyport_token
setopt INTERACTIVE_COMMENTS
zmodload zsh/zle zsh/complete zsh/compctl zsh/computil zsh/zutil zsh/rlimits zsh/system zsh/net/tcp
() {
	local __sallyport_kind __sallyport_name
	for __sallyport_kind in b p c f; do
		for __sallyport_name in ${${(f)"$(zmodload -a$__sallyport_kind)"}%% \(*}; do
			zmodload -ua$__sallyport_kind ${__sallyport_name##* }
		done
	done
}
module_path=()

# __sallyport_open connects; REPLY is the descriptor. The port is part of it, and no parameter: where it is asked must not
# change.
eval "__sallyport_open() { ztcp 127.0.0.1 ${(q)__sallyport_port} 2>/dev/null }"
unset __sallyport_port

# __sallyport_guard is the DEBUG trap. $1 is what zsh says is running. The gate answers with 256 bytes: 16 of no use here,
# y or n, a text that ends with a bar.
__sallyport_guard() {
	emulate -LR zsh
	case $1 in __sallyport_prompt | __sallyport_line | __sallyport_open | __sallyport_receive) return 0 ;; esac
	case ${ZSH_DEBUG_CMD-} in '__sallyport_prompt' | '__sallyport_line "$3"') return 0 ;; esac
	local IFS= REPLY= __sallyport_answer='                 refused: this shell has lost its guard; leave it and log in again|'
	if [[ ${(t)ZSH_DEBUG_CMD} == scalar ]] && __sallyport_open; then
		{
			print -rn -u $REPLY -- "$__sallyport_token"$'\0A\0'"$sysparams[pid]"$'\0'"$$"$'\0\0'"$PWD"$'\0'"$ZSH_DEBUG_CMD"$'\0' || return 1
			__sallyport_receive || return 1
		} always {
			ztcp -c $REPLY
		}
		if [[ ${__sallyport_answer[17]} == y ]]; then return 0; fi
	fi
	__sallyport_answer=${${__sallyport_answer[18,-1]}%%\|*}
	{ print -r -- "$__sallyport_answer" >/dev/tty } 2>/dev/null || print -r -u 2 -- "$__sallyport_answer"
	if [[ ! -o interactive ]]; then exit 77; fi
	kill -INT $$ # the rest of the line goes too: it may count on what was refused
	if [[ $sysparams[pid] != $$ ]]; then exit 77; fi
	return 1
}

# __sallyport_receive reads an answer, which may come in parts.
__sallyport_receive() {
	local __sallyport_part
	__sallyport_answer=
	while (( ${#__sallyport_answer} < 256 )); do
		sysread -s $(( 256 - ${#__sallyport_answer} )) -i $REPLY __sallyport_part || return 1
		__sallyport_answer+=$__sallyport_part
	done
}

# __sallyport_line tells the gate a line, with its aliases expanded, before any of it runs.
__sallyport_line() {
	emulate -LR zsh
	local IFS= REPLY= __sallyport_answer
	if __sallyport_open; then
		{
			print -rn -u $REPLY -- "$__sallyport_token"$'\0Z\0'"$$"$'\0'"$$"$'\0\0\0'"$1"$'\0' && __sallyport_receive
		} always {
			ztcp -c $REPLY
		}
	fi
}

# __sallyport_prompt reports each prompt, and that the guard stands. The gate ends a shell whose report is not as it
# should be.
__sallyport_prompt() {
	local IFS= REPLY= __sallyport_answer
	if __sallyport_open; then
		{
			{
				print -rn -- "$__sallyport_token"$'\0P\0'"$sysparams[pid]"$'\0'"$$"$'\0\0'
				setopt
				print -rn -- $'\0'
				trap
				print -rn -- $'\0'
			} >&$REPLY
			__sallyport_receive
		} always {
			ztcp -c $REPLY
		}
	fi
}

preexec() { __sallyport_line "$3" }
precmd() { __sallyport_prompt }
PS1='%n@%m:%~%(!.#.$) '
HISTSIZE=5000
unset HISTFILE
trap 'setopt ERR_EXIT && __sallyport_guard "${(%):-%N}" && unsetopt ERR_EXIT' DEBUG
