# Makes this bash ask the gate before each simple command. README.md says how and how far that goes.
#
# Rules for this file. The text of the trap is one quoted word, because aliases are expanded in it each
# time. A function of the user's may bear the name of any builtin, defining it is asked of nobody, and
# what it does inside a trap neither: so before a function here calls a builtin it makes sure that it is
# one, by taking such functions away. Only unset can do that, and unset is sure to be itself only in POSIX
# mode, where special builtins are found before functions and which an assignment turns on. Until
# [[ -o posix ]] has held nothing but keywords and assignments may stand. What fails, refuses.
readonly SALLYPORT_GUARD
unset BASH_ENV

# __sallyport_guard is the DEBUG trap. Its status is not zero: the command is skipped.
__sallyport_guard() {
	case ${FUNCNAME[1]-} in
	__sallyport_prompt | __sallyport_report | __sallyport_line | __sallyport_show)
		((1)) # our own, and in the middle of what is done below
		;;
	*)
		POSIXLY_CORRECT=y
		if [[ -o posix ]]; then
			unset -f local set printf read kill exit return trap shopt unset
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

# __sallyport_ask asks the gate, which answers with 256 bytes: the number of the question, y or n, a text
# that ends with a bar.
__sallyport_ask() {
	case ${BASH_COMMAND-} in '\__sallyport_prompt' | '\__sallyport_line') return 0 ;; esac
	local -
	set +xveukf
	local IFS= TMOUT= __sallyport_nonce __sallyport_answer
	if [[ /dev/fd/9 -ef $SALLYPORT_GUARD ]]; then
		printf -v __sallyport_nonce %08x%08x "$SRANDOM" "$SRANDOM"
		printf 'A%s\0%s\0%s\0%s\0' "$__sallyport_nonce" "${#FUNCNAME[@]}" "${PWD-}" "${BASH_COMMAND-}" >&9 || return 1
		while ((1)); do
			read -r -N 256 -u 9 __sallyport_answer || return 1
			if [[ ${__sallyport_answer:0:16} == "$__sallyport_nonce" ]]; then break; fi
			printf 'M%s\0' "${__sallyport_answer:0:16}" >&9 || return 1 # meant for another process of this shell
		done
		if [[ ${__sallyport_answer:16:1} == y ]]; then return 0; fi
	else
		__sallyport_answer='                 refused: this shell has lost its guard; leave it and log in again|'
	fi
	__sallyport_answer=${__sallyport_answer:17}
	__sallyport_answer=${__sallyport_answer%%|*}
	{ printf 'sallyport: %s\n' "$__sallyport_answer" >/dev/tty; } 2>/dev/null || printf 'sallyport: %s\n' "$__sallyport_answer" >&2
	trap - INT EXIT # what they run now would not be asked
	if [[ $- != *i* ]]; then exit 77; fi
	kill -INT $$ # the rest of the line goes too: it may count on what was refused
	if [[ $BASHPID != $$ ]]; then
		kill -INT $BASHPID
		exit 77
	fi
	return 1
}

# __sallyport_line shows the gate a whole line before any of it runs: redirections of compound commands
# and definitions of functions are no simple commands.
__sallyport_line() {
	POSIXLY_CORRECT=y
	if [[ -o posix ]]; then
		unset -f local set printf read kill history exit return trap unset
		unset POSIXLY_CORRECT
		__sallyport_show
	fi
}

__sallyport_show() {
	set +xveukf
	local IFS= TMOUT= HISTTIMEFORMAT= __sallyport_nonce __sallyport_answer
	[[ /dev/fd/9 -ef $SALLYPORT_GUARD ]] || return 0 # then no command of it will run
	printf -v __sallyport_nonce %08x%08x "$SRANDOM" "$SRANDOM"
	{
		printf 'L%s\0' "$__sallyport_nonce"
		history 1
		printf '\0'
	} >&9
	while ((1)); do
		read -r -N 256 -u 9 __sallyport_answer || break
		if [[ ${__sallyport_answer:0:16} == "$__sallyport_nonce" ]]; then
			if [[ ${__sallyport_answer:16:1} == y ]]; then return 0; fi
			break
		fi
		printf 'M%s\0' "${__sallyport_answer:0:16}" >&9 || break
	done
	__sallyport_answer=${__sallyport_answer:17}
	printf 'sallyport: %s\n' "${__sallyport_answer%%|*}" >/dev/tty
	kill -INT $$
	kill -INT $BASHPID
	exit 77
}

# __sallyport_prompt reports each prompt, and that the guard stands. The gate ends a shell whose report
# is not as it should be.
__sallyport_prompt() {
	POSIXLY_CORRECT=y
	if [[ -o posix ]]; then
		unset -f local set printf trap return unset
		unset POSIXLY_CORRECT
		__sallyport_report
	fi
}

__sallyport_report() {
	local __sallyport_flags=$-
	local - IFS=
	set +xveukf
	[[ /dev/fd/9 -ef $SALLYPORT_GUARD ]] || return 0
	{
		printf 'P%s\0%s\0' "$__sallyport_flags" "$BASHOPTS"
		trap -p DEBUG
		printf '\0'
	} >&9
}

readonly -f __sallyport_guard __sallyport_ask __sallyport_line __sallyport_show __sallyport_prompt __sallyport_report
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
printf 'R\0' >&9
trap '\__sallyport_guard' DEBUG
