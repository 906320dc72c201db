# Makes this zsh ask the gate before it runs anything. README.md says how and how far that goes.
#
# zsh runs the DEBUG trap before each sublist, in subshells and functions too, and skips the sublist when the trap leaves
# ERR_EXIT set: so it is set first, and taken away only for a yes. In a trap there is no other, so what runs in this one
# is asked of nobody. No function of the user's may bear a builtin's name, no option may be changed that would change
# what stands here, and nothing here counts on a variable: the gate refuses what would come in the way, and looks at
# each prompt's report. What zsh could load later, it must not be able to load: the parameters of zsh/parameter can
# define functions and set options without a command.
unset ZDOTDIR
setopt INTERACTIVE_COMMENTS
zmodload zsh/zle zsh/complete zsh/compctl zsh/computil zsh/zutil zsh/rlimits zsh/system
() {
	local __sallyport_kind __sallyport_name
	for __sallyport_kind in b p c f; do
		for __sallyport_name in ${${(f)"$(zmodload -a$__sallyport_kind)"}%% \(*}; do
			zmodload -ua$__sallyport_kind ${__sallyport_name##* }
		done
	done
}
module_path=()

# __sallyport_guard is the DEBUG trap. $1 is what zsh says is running. The gate answers with 256 bytes: the number of the
# question, y or n, a text that ends with a bar.
__sallyport_guard() {
	emulate -LR zsh
	case $1 in __sallyport_prompt | __sallyport_line) return 0 ;; esac
	case ${ZSH_DEBUG_CMD-} in '__sallyport_prompt' | '__sallyport_line "$3"') return 0 ;; esac
	local IFS= __sallyport_nonce= __sallyport_answer='                 refused: this shell has lost its guard; leave it and log in again|'
	if [[ ${(t)ZSH_DEBUG_CMD} == scalar && /dev/fd/9 -ef $SALLYPORT_GUARD ]]; then
		read -r __sallyport_nonce </proc/sys/kernel/random/uuid || return 1
		__sallyport_nonce=${__sallyport_nonce[1,8]}${__sallyport_nonce[25,32]}
		print -rn -u 9 -- "A$__sallyport_nonce"$'\0\0'"$PWD"$'\0'"$ZSH_DEBUG_CMD"$'\0' || return 1
		while true; do
			sysread -s 256 -i 9 __sallyport_answer || return 1
			if [[ ${__sallyport_answer[1,16]} == "$__sallyport_nonce" ]]; then break; fi
			print -rn -u 9 -- "M${__sallyport_answer[1,16]}"$'\0' || return 1 # meant for another process of this shell
		done
		if [[ ${__sallyport_answer[17]} == y ]]; then return 0; fi
	fi
	__sallyport_answer=${${__sallyport_answer[18,-1]}%%\|*}
	{ print -r -- "sallyport: $__sallyport_answer" >/dev/tty } 2>/dev/null || print -r -u 2 -- "sallyport: $__sallyport_answer"
	if [[ ! -o interactive ]]; then exit 77; fi
	kill -INT $$ # the rest of the line goes too: it may count on what was refused
	if [[ $sysparams[pid] != $$ ]]; then exit 77; fi
	return 1
}

# __sallyport_line tells the gate a line, with its aliases expanded, before any of it runs.
__sallyport_line() {
	emulate -LR zsh
	if [[ /dev/fd/9 -ef $SALLYPORT_GUARD ]]; then print -rn -u 9 -- $'Z\0'"$1"$'\0'; fi
}

# __sallyport_prompt reports each prompt, and that the guard stands. The gate ends a shell whose report is not as it
# should be.
__sallyport_prompt() {
	if [[ /dev/fd/9 -ef $SALLYPORT_GUARD ]]; then
		{
			print -rn -- $'P\0'
			setopt
			print -rn -- $'\0'
			trap
			print -rn -- $'\0'
		} >&9
	fi
}

preexec() { __sallyport_line "$3" }
precmd() { __sallyport_prompt }
if [[ -o interactive ]]; then
	PS1='%n@%m:%~%(!.#.$) '
	HISTSIZE=5000
	unset HISTFILE
fi
print -rn -u 9 -- $'R\0'
trap 'setopt ERR_EXIT && __sallyport_guard "${(%):-%N}" && unsetopt ERR_EXIT' DEBUG
