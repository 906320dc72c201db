package sshd

import (
	"context"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/sallyport-ssh/sallyport/shells"
)

// Bounds of what a client may send before its session starts. OpenSSH sends a handful of variables.
const (
	maxEnv      = 64
	maxEnvBytes = 4 << 10   // one NAME=value
	maxEnvTotal = 32 << 10  // all of them
	maxCommand  = 256 << 10 // an exec's command; Linux takes 128 KiB as one argument
	maxTerm     = 64
	maxSide     = 9999 // columns or rows; what a recording can hold
)

// asked is what a client asked of its session channel before it started.
type asked struct {
	kind    shells.Kind
	command string // exec: the command; subsystem: its name
	pty     *shells.Pty
	env     []string

	seen []requested // in their order, granted or not

	json   bool   // SALLYPORT_JSON=1: notices as one JSON object a line
	unmask string // SALLYPORT_UNMASK: what is asked to be seen in clear; see [session.unmask]
	reason string // SALLYPORT_REASON: shown to approvers, proves nothing
}

// prepare answers requests until one starts the session. It reports false when none did.
func (a *asked) prepare(requests <-chan *ssh.Request, refused func(kind string)) bool {
	for r := range requests {
		ok := false
		switch r.Type {
		case "auth-agent-req@openssh.com", "x11-req":
			refused(r.Type)
		case "env":
			ok = a.setEnv(r.Payload)
		case "pty-req":
			ok = a.setPty(r.Payload)
		case "shell", "exec", "subsystem":
			if ok = a.setStart(r.Type, r.Payload); ok {
				a.seen = append(a.seen, requestOf(r, true))
				// Answered before any output can overtake the answer.
				return r.Reply(true, nil) == nil || !r.WantReply
			}
		}
		if len(a.seen) < maxRequests {
			a.seen = append(a.seen, requestOf(r, ok))
		}
		if r.WantReply {
			_ = r.Reply(ok, nil)
		}
	}
	return false
}

func (a *asked) setStart(kind string, payload []byte) bool {
	a.kind = shells.Kind(kind)
	if a.kind == shells.Shell {
		return true
	}
	var m struct{ Text string }
	if ssh.Unmarshal(payload, &m) != nil || len(m.Text) > maxCommand || strings.IndexByte(m.Text, 0) >= 0 {
		return false
	}
	a.command = m.Text
	return true
}

// setPty reads RFC 4254 section 6.2.
func (a *asked) setPty(payload []byte) bool {
	var m struct {
		Term          string
		Cols, Rows    uint32
		Width, Height uint32
		Modes         string
	}
	if ssh.Unmarshal(payload, &m) != nil || a.pty != nil || !validTerm(m.Term) {
		return false
	}
	a.pty = &shells.Pty{Term: m.Term, Cols: min(m.Cols, maxSide), Rows: min(m.Rows, maxSide), Modes: parseModes(m.Modes)}
	return true
}

func validTerm(s string) bool {
	return len(s) <= maxTerm && strings.IndexFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-+._", r))
	}) < 0
}

// parseModes reads the encoded terminal modes of RFC 4254 section 8: opcode, then a uint32, until
// TTY_OP_END or an opcode that has no uint32.
func parseModes(s string) ssh.TerminalModes {
	modes := ssh.TerminalModes{}
	for len(s) >= 5 && s[0] != 0 && s[0] < 160 {
		modes[s[0]] = uint32(s[1])<<24 | uint32(s[2])<<16 | uint32(s[3])<<8 | uint32(s[4])
		s = s[5:]
	}
	return modes
}

// setEnv takes what cannot change which program runs, and what is meant for the gate itself.
func (a *asked) setEnv(payload []byte) bool {
	var m struct{ Name, Value string }
	if ssh.Unmarshal(payload, &m) != nil || len(m.Name)+len(m.Value) > maxEnvBytes || strings.IndexByte(m.Value, 0) >= 0 {
		return false
	}
	switch m.Name {
	case "SALLYPORT_JSON":
		a.json = m.Value == "1"
		return true
	case "SALLYPORT_UNMASK":
		a.unmask = m.Value
		return true
	case "SALLYPORT_REASON":
		a.reason = m.Value
		return true
	}
	if !envAllowed(m.Name) || len(a.env) >= maxEnv {
		return false
	}
	env := slices.DeleteFunc(slices.Clone(a.env), func(e string) bool { return strings.HasPrefix(e, m.Name+"=") })
	env = append(env, m.Name+"="+m.Value)
	if len(strings.Join(env, "")) > maxEnvTotal {
		return false
	}
	a.env = env
	return true
}

func envAllowed(name string) bool {
	switch name {
	case "LANG", "LANGUAGE", "TZ", "COLORTERM", "NO_COLOR":
		return true
	}
	rest, ok := strings.CutPrefix(name, "LC_")
	return ok && rest != "" && strings.Trim(rest, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_") == ""
}

// errChannelClosed is why a session ends when its client closed the channel.
var errChannelClosed = publicError("the client closed the session")

// requests answers what comes while the session runs, until the client closes the channel, which ends
// the session.
func (s *session) requests(requests <-chan *ssh.Request) {
	for r := range requests {
		ok := false
		switch r.Type {
		case "window-change":
			ok = s.windowChange(r.Payload)
		case "signal":
			ok = s.signal(r.Payload)
		case "break":
			ok = s.deliver("INT")
		case "eow@openssh.com":
			ok = s.unread()
		case "auth-agent-req@openssh.com", "x11-req":
			s.c.requestRefused(r.Type)
		}
		s.noteRequest(requestOf(r, ok))
		if r.WantReply {
			_ = r.Reply(ok, nil)
		}
	}
	s.cancel(errChannelClosed)
}

// requestRefused logs a request that SSH has no room to give a reason for.
func (c *connection) requestRefused(kind string) { c.refused("channel request refused", "type", kind) }

func (s *session) windowChange(payload []byte) bool {
	var m struct{ Cols, Rows, Width, Height uint32 }
	if ssh.Unmarshal(payload, &m) != nil || s.asked.pty == nil {
		return false
	}
	return s.resize(min(m.Cols, maxSide), min(m.Rows, maxSide)) == nil
}

func (s *session) signal(payload []byte) bool {
	var m struct{ Name string }
	return ssh.Unmarshal(payload, &m) == nil && s.deliver(m.Name)
}

// exit tells the client how the process ended (RFC 4254 section 6.10). The order is that of OpenSSH:
// all output, end of file, the status, the close.
func (s *session) exit(e shells.Exit) {
	_ = s.ch.CloseWrite()
	if e.Signal != "" {
		_, _ = s.ch.SendRequest("exit-signal", false, ssh.Marshal(struct {
			Signal     string
			CoreDumped bool
			Message    string
			Language   string
		}{e.Signal, e.CoreDumped, e.Message, ""}))
		return
	}
	_, _ = s.ch.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{uint32(e.Status)}))
}

// cause is why ctx ended, or nil while it runs.
func cause(ctx context.Context) error {
	if ctx.Err() == nil {
		return nil
	}
	return context.Cause(ctx)
}
