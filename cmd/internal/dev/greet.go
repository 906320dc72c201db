package dev

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// prepare makes dir, which only its owner enters, and sees to it that nobody else uses it.
func prepare(dir string) (unlock func(), err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", dir, errInUse)
	}
	return func() { f.Close() }, nil // which unlocks
}

// greet prints what to type in a second terminal, in the order of a first tour.
func (g *gate) greet() {
	dir := g.o.Dir
	if wd, err := os.Getwd(); err == nil {
		if rel, err := filepath.Rel(wd, dir); err == nil && !strings.HasPrefix(rel, "..") {
			dir = rel
		}
	}
	cfg := func(user string) string { return "ssh -F " + shellQuote(filepath.Join(dir, user, "ssh_config")) }
	lines := [][2]string{
		{cfg("agent") + " demo 'cat customers.csv'", "cards, IBANs, e-mails come back masked"},
		{cfg("agent") + " demo 'rm -rf /srv/demo/old'", "held; says so on stderr, and waits"},
		{cfg("approver") + " gate approvals", "what waits: who, where, the exact command"},
		{cfg("approver") + " gate approve ID", "it runs; the first terminal gets its exit status"},
		{cfg("developer") + " -t demo", "an interactive, masked, recorded shell"},
	}
	if g.web1 != nil {
		lines = append(lines,
			[2]string{cfg("developer") + " web1 uptime", "a real OpenSSH sshd behind the gate"},
			[2]string{cfg("developer") + " -J gate " + g.loginName() + "@web1 uptime", "the same by ProxyJump, recorded just the same"})
	}
	if g.db != nil {
		lines = append(lines,
			[2]string{cfg("developer") + " -t db", "the real psql, jailed; every statement is decided on"},
			[2]string{cfg("agent") + " db 'select * from customers limit 3'", "masked by column and by what values look like"},
			[2]string{"echo 'delete from orders' | " + cfg("agent") + " db", "held: no WHERE"},
			[2]string{cfg("developer") + " -N -L 15432:db:5432 gate &", "then: psql -h 127.0.0.1 -p 15432"})
	}
	if g.k8s != nil || g.o.Kubeconfig != "" && g.o.Kubeconfig != NoKubeconfig {
		about := "the real kubectl, jailed; every request is decided on"
		if g.k8s != nil {
			about += " (the cluster starts now: some seconds)"
		}
		lines = append(lines,
			[2]string{cfg("agent") + " k8s get pods -n web", about},
			[2]string{cfg("agent") + " k8s get pod web-0 -n web -o yaml", "variables that are secret are masked"},
			[2]string{cfg("agent") + " k8s delete configmap shop -n web", "held"},
			[2]string{cfg("developer") + " -t k8s", "a prompt for kubectl commands"})
	}
	lines = append(lines, [2]string{g.config.HTTP.URL + "/", "sign in as approver: sessions, play, approve"})
	width := 0
	for _, l := range lines {
		width = max(width, len(l[0]))
	}
	var b strings.Builder
	fmt.Fprintf(&b, "Sallyport is ready: ssh on %s, console on %s\n\nType in a second terminal:\n\n", g.daemon.SSHAddr(), g.config.HTTP.URL)
	for _, l := range lines {
		fmt.Fprintf(&b, "    %-*s  # %s\n", width, l[0], l[1])
	}
	for _, note := range g.notes {
		fmt.Fprintf(&b, "\n%s\n", note)
	}
	fmt.Fprintf(&b, "\nLog: %s. Ctrl-C stops.\n", filepath.Join(dir, "gate.log"))
	fmt.Fprint(g.o.Out, b.String())
}

// shellQuote quotes a path for a shell where it needs it.
func shellQuote(s string) string {
	if strings.IndexFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_./-+@:", r))
	}) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
