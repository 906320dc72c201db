package sshd

import (
	"strings"

	"golang.org/x/crypto/ssh"
)

// A requested is one channel request (RFC 4254 section 6) as it stands in the recording, granted or not.
type requested struct {
	Type string `json:"type"`
	Text string `json:"text,omitempty"` // the variable's name, the terminal, the subsystem, the signal
	OK   bool   `json:"ok"`
}

// maxRequests bounds what a client can have written into its recording by asking for things.
const maxRequests = 256

// requestOf describes r. Values of variables are left out: those that were taken stand in the recording's
// meta, and others may be secrets.
func requestOf(r *ssh.Request, ok bool) requested {
	out := requested{Type: show(shortLabel(r.Type)), OK: ok}
	var m struct {
		Text string
		Rest []byte `ssh:"rest"`
	}
	switch r.Type {
	case "env", "pty-req", "subsystem", "signal":
		if ssh.Unmarshal(r.Payload, &m) == nil {
			out.Text = show(shortLabel(strings.ToValidUTF8(m.Text, "\uFFFD")))
		}
	}
	return out
}

// noteRequest puts a request into the recording, or keeps it for when there is one. Sizes that were taken are
// events of their own.
func (s *session) noteRequest(r requested) {
	if r.Type == "window-change" && r.OK {
		return
	}
	s.mu.Lock()
	if s.requestsSeen++; s.requestsSeen > maxRequests {
		s.mu.Unlock()
		return
	}
	if s.recording == nil {
		s.requestsEarly = append(s.requestsEarly, r)
		s.mu.Unlock()
		return
	}
	s.mu.Unlock()
	if err := s.recorded(s.recording.Note("request", r)); err != nil {
		s.cancel(err)
	}
}

// noteEarlyRequests puts into the recording, which begins, what was asked for before.
func (s *session) noteEarlyRequests() error {
	s.mu.Lock()
	early := s.requestsEarly
	s.requestsEarly = nil
	s.mu.Unlock()
	for _, r := range early {
		if err := s.recording.Note("request", r); err != nil {
			return err
		}
	}
	return nil
}
