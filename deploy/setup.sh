#!/bin/sh
# Installs what `make run` or `make test` needs from Debian, when root; otherwise says what to install.
#   deploy/setup.sh run|test
set -eu

# command:package, looked up in PATH and in /usr/sbin
run="bwrap:bubblewrap ssh:openssh-client sshd:openssh-server setpriv:util-linux git:git gcc:gcc /usr/include/stdlib.h:libc6-dev"
test="$run zsh:zsh tmux:tmux vim:vim less:less watch:procps busybox:busybox rsync:rsync chromium:chromium ssh-audit:ssh-audit rsyslogd:rsyslog curl:curl asciinema:asciinema etcd:etcd-server /usr/lib/openssh/sftp-server:openssh-sftp-server /usr/lib/postgresql:postgresql pgbouncer:pgbouncer bzip2:bzip2"

case "${1:-}" in
run) want=$run ;;
test) want=$test ;;
*) echo "usage: $0 run|test" >&2; exit 2 ;;
esac

missing=
for entry in $want; do
	what=${entry%%:*}
	case $what in
	/*) [ -e "$what" ] && continue ;;
	*) command -v "$what" >/dev/null 2>&1 && continue; [ -x "/usr/sbin/$what" ] && continue ;;
	esac
	missing="$missing ${entry##*:}"
done

for tool in go node npm; do
	command -v $tool >/dev/null 2>&1 || { echo "setup: $tool is missing: install Go 1.26 or newer, and Node 20 or newer with npm" >&2; exit 1; }
done

[ -n "$missing" ] || exit 0

if [ "$(id -u)" -ne 0 ]; then
	echo "setup: as root, run: apt-get install --no-install-recommends$missing" >&2
	# A target fewer is no reason not to start.
	[ "${1}" = run ] && [ "$missing" = " openssh-server" ] && exit 0
	exit 1
fi

echo "setup: installing$missing"
# Servers come as programs for our own use: none of them is to be started on this machine.
rc=/usr/sbin/policy-rc.d
if [ ! -e $rc ]; then
	printf '#!/bin/sh\nexit 101\n' >$rc
	chmod 755 $rc
	trap 'rm -f $rc' EXIT
fi
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
if ! { apt-get update && apt-get install -y --no-install-recommends $missing; } >"$log" 2>&1; then
	tail -n 20 "$log" >&2
	echo "setup: apt-get install failed; the whole of it is in $log" >&2
	exit 1
fi
rm -f "$log"
for unit in ssh:openssh-server postgresql:postgresql pgbouncer:pgbouncer etcd:etcd-server; do
	case "$missing" in
	*" ${unit##*:}"*) command -v systemctl >/dev/null 2>&1 && systemctl disable "${unit%%:*}" >/dev/null 2>&1 || true ;;
	esac
done
