# Makes this bash ask the gate before each simple command. It is shells/local/guard.bashrc with another way to ask: a
# connection for each question, through a forward on the loopback interface, with a token. The rules of that file hold
# here as well.
if [[ -r /etc/profile ]]; then . /etc/profile; fi
stty -echo
printf 'sallyport:ready\n'
IFS=' ' read -r -t 30 __sallyport_port __sallyport_token
stty echo
readonly __sallyport_port __sallyport_token
unset BASH_ENV

# __sallyport_guard is the DEBUG trap. Its status is not zero: the command is skipped.
__sallyport_guard() {
	case ${FUNCNAME[1]-} in
	__sallyport_prompt | __sallyport_report | __sallyport_line | __sallyport_show | __sallyport_open | __sallyport_close)
		((1)) # our own, and in the middle of what is done below
		;;
	*)
		POSIXLY_CORRECT=y
		if [[ -o posix ]]; then
			unset -f local set printf read kill exit return trap shopt unset exec
			unset POSIXLY_CORRECT
			if [[ $- != *[iT]* ]]; then
				shopt -s extdebug # in BASH_ENV it would call for bashdb
				set -T
			fi
			__sallyport_ask
		else
			((0))
		fi
		;;
	esac
}

# __sallyport_ask asks the gate, which answers with 256 bytes: 16 of no use here, y or n, a text that ends with a bar.
__sallyport_ask() {
	case ${BASH_COMMAND-} in '\__sallyport_prompt' | '\__sallyport_line') return 0 ;; esac
	local -
	set +xveukf
	local IFS= __sallyport_answer='                 refused: this shell has lost its guard; leave it and log in again|'
	if __sallyport_open; then
		printf '%s\0A\0%s\0%s\0%s\0%s\0%s\0' "$__sallyport_token" "$BASHPID" "$$" "${#FUNCNAME[@]}" "${PWD-}" "${BASH_COMMAND-}" >&"$__sallyport_fd" || return 1
		read -r -t 1000000 -N 256 -u "$__sallyport_fd" __sallyport_answer || return 1
		__sallyport_close
		if [[ ${__sallyport_answer:16:1} == y ]]; then return 0; fi
	fi
	__sallyport_answer=${__sallyport_answer:17}
	__sallyport_answer=${__sallyport_answer%%|*}
	{ printf '%s\n' "$__sallyport_answer" >/dev/tty; } 2>/dev/null || printf '%s\n' "$__sallyport_answer" >&2
	trap - INT EXIT # what they run now would not be asked
	if [[ $- != *i* ]]; then exit 77; fi
	kill -INT $$ # the rest of the line goes too: it may count on what was refused
	if [[ $BASHPID != $$ ]]; then
		kill -INT $BASHPID
		exit 77
	fi
	return 1
}

# A connection that an interrupt left open is closed before the next. The descriptor is not local for that.
__sallyport_open() {
	__sallyport_close
	{ exec {__sallyport_fd}<>/dev/tcp/127.0.0.1/"$__sallyport_port"; } 2>/dev/null
}

__sallyport_close() {
	if [[ ${__sallyport_fd-} == [0-9]* ]]; then exec {__sallyport_fd}>&-; fi
	__sallyport_fd=
}

# __sallyport_line shows the gate a whole line before any of it runs: redirections of compound commands
# and definitions of functions are no simple commands.
__sallyport_line() {
	POSIXLY_CORRECT=y
	if [[ -o posix ]]; then
		unset -f local set printf read kill history exit return trap unset exec
		unset POSIXLY_CORRECT
		__sallyport_show
	fi
}

__sallyport_show() {
	set +xveukf
	local IFS= HISTTIMEFORMAT= __sallyport_answer='                 refused: this shell has lost its guard; leave it and log in again|'
	if __sallyport_open; then
		{
			printf '%s\0L\0%s\0%s\0\0\0' "$__sallyport_token" "$$" "$$"
			history 1
			printf '\0'
		} >&"$__sallyport_fd"
		if read -r -t 1000000 -N 256 -u "$__sallyport_fd" __sallyport_answer && [[ ${__sallyport_answer:16:1} == y ]]; then
			__sallyport_close
			return 0
		fi
	fi
	__sallyport_answer=${__sallyport_answer:17}
	printf '%s\n' "${__sallyport_answer%%|*}" >/dev/tty
	kill -INT $$
	kill -INT $BASHPID
	exit 77
}

# __sallyport_prompt reports each prompt, and that the guard stands. The gate ends a shell whose report
# is not as it should be.
__sallyport_prompt() {
	POSIXLY_CORRECT=y
	if [[ -o posix ]]; then
		unset -f local set printf read trap return unset exec
		unset POSIXLY_CORRECT
		__sallyport_report
	fi
}

__sallyport_report() {
	local __sallyport_flags=$-
	local - IFS= __sallyport_answer
	set +xveukf
	__sallyport_open || return 0
	{
		printf '%s\0P\0%s\0%s\0%s\0%s\0' "$__sallyport_token" "$BASHPID" "$$" "$__sallyport_flags" "$BASHOPTS"
		trap -p DEBUG
		printf '\0'
	} >&"$__sallyport_fd"
	read -r -t 60 -N 256 -u "$__sallyport_fd" __sallyport_answer
	__sallyport_close
}

readonly -f __sallyport_open __sallyport_close __sallyport_guard __sallyport_ask __sallyport_line __sallyport_show __sallyport_prompt __sallyport_report
readonly FUNCNAME SRANDOM BASHPID BASH_ALIASES BASH_COMMAND FUNCNEST=0 PS4='+ '
if [[ $- == *i* ]]; then
	PS1='\u@\h:\w\$ '
	unset HISTFILE
	set -o history
	shopt -s cmdhist
	readonly HISTCONTROL= HISTIGNORE= HISTSIZE=5000
	readonly PROMPT_COMMAND='\__sallyport_prompt' PS0='$(\__sallyport_line)'
fi
if [[ $- == *i* ]]; then
	shopt -s extdebug
	set -T
fi
trap '\__sallyport_guard' DEBUG
