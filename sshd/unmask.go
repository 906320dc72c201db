package sshd

import (
	"slices"
	"strings"

	"github.com/sallyport-ssh/sallyport/filters/mask"
)

// maxUnmask bounds what one session can ask to see in clear; each is an operation of its own.
const maxUnmask = 16

// unmask decides whether the client sees clear text, when it asked to: SALLYPORT_UNMASK=1 for all of it, or the names of
// detectors with commas between. Each name is decided on alone. The record never has clear text.
func (s *session) unmask() error {
	names, err := unmaskNames(s.asked.unmask, s.c.srv.o.Masks)
	if err != nil {
		return err
	}
	for _, name := range names {
		facts, text := map[string]any{"login": s.route.login}, "see all in clear text in this session"
		if name != mask.All {
			facts["detector"], text = name, "see "+name+" in clear text in this session"
		}
		if err := s.admit("unmask", text, facts); err != nil {
			return err
		}
	}
	if len(names) > 0 {
		s.out.unmask(names)
		s.clear = slices.Contains(names, mask.All)
	}
	return nil
}

// unmaskNames reads what a client asked for.
func unmaskNames(asked string, e *mask.Engine) ([]string, error) {
	var names []string
	for name := range strings.SplitSeq(asked, ",") {
		switch name = strings.TrimSpace(name); name {
		case "", "0":
			continue
		case "1", mask.All:
			return []string{mask.All}, nil
		}
		if !slices.Contains(e.Names(), name) {
			return nil, &Refusal{Code: ExitDenied, Public: "SALLYPORT_UNMASK names " + show(name) + ", which is nothing that is masked here; it takes 1, or names of detectors such as card, email, iban, phone"}
		}
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	if len(names) > maxUnmask {
		return nil, &Refusal{Code: ExitDenied, Public: "SALLYPORT_UNMASK names too much; 1 asks for all"}
	}
	return names, nil
}

// maskStyle is how values are replaced in this session.
func (s *session) maskStyle() mask.Style {
	if s.c.srv.o.MaskStyle == nil || s.route.target == nil {
		return 0
	}
	return s.c.srv.o.MaskStyle(s.c.identity, s.route.target.Target, s.asked.pty != nil)
}
