package console

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/sallyport-ssh/sallyport/policies"
)

// A chip is one fact about an operation.
type chip struct {
	Name, Value string
	Tone        string // bad: the kind of fact that operations are held for
}

// alarming are the facts that a person should see first.
var alarming = map[string]bool{
	"destructive": true, "privilege": true, "privileged": true, "exfiltration": true, "persistence": true,
	"interpreter": true, "opaque": true, "unbounded": true, "dynamic": true,
}

// repeats are the facts that say again what stands beside them: the text, the session, the time.
var repeats = map[string]bool{
	"text": true, "now": true, "kind": true, "args": true, "commands": true, "source": true, "login": true, "guard": true,
	"pty": true, "program_count": true, "arg_count": true, "redirect_count": true,
}

// factList turns facts into chips, alarming ones first. False and empty facts say nothing.
func factList(facts map[string]any) []chip {
	var loud, calm []chip
	seen := map[string]bool{}
	add := func(c chip) {
		if seen[c.Name+"\x00"+c.Value] {
			return
		}
		seen[c.Name+"\x00"+c.Value] = true
		if c.Tone == "bad" {
			loud = append(loud, c)
		} else {
			calm = append(calm, c)
		}
	}
	if classes, ok := words(facts["classes"]); ok {
		for _, w := range classes {
			add(chip{Name: plain(w), Tone: tone(w)})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(facts)) {
		if !repeats[name] && name != "classes" {
			addFact(add, name, facts[name])
		}
	}
	return append(loud, calm...)
}

func addFact(add func(chip), name string, v any) {
	if list, ok := words(v); ok {
		for _, w := range list {
			add(chip{Name: plain(name), Value: plain(w), Tone: tone(name)})
		}
		return
	}
	switch v := v.(type) {
	case bool:
		if v {
			add(chip{Name: plain(name), Tone: tone(name)})
		}
	case string:
		if v != "" {
			add(chip{Name: plain(name), Value: plain(v), Tone: tone(name)})
		}
	case nil:
	default:
		add(chip{Name: plain(name), Value: plain(fmt.Sprint(v)), Tone: tone(name)})
	}
}

func tone(name string) string {
	if alarming[name] {
		return "bad"
	}
	return ""
}

// words are the strings of a list, whichever way a store gave it back.
func words(v any) ([]string, bool) {
	switch v := v.(type) {
	case []string:
		return v, true
	case []any:
		var list []string
		for _, e := range v {
			list = append(list, fmt.Sprint(e))
		}
		return list, true
	}
	return nil, false
}

// digest binds an answer to what its page showed: who asks, for whom, where, what and exactly which
// bytes. A form that answers something else is refused.
func digest(h policies.Hold) string {
	d := sha256.New()
	for _, s := range []string{h.ID, h.Principal.Key, behalf(h.Principal), h.Target.Kind, h.Target.Name, h.Action, h.Text, h.SessionID} {
		fmt.Fprintf(d, "%d:", len(s))
		io.WriteString(d, s)
	}
	return hex.EncodeToString(d.Sum(nil)[:16])
}

func behalf(p policies.Principal) string {
	var keys []string
	for q := p.OnBehalfOf; q != nil && len(keys) < 8; q = q.OnBehalfOf {
		keys = append(keys, q.Key)
	}
	return strings.Join(keys, "\n")
}
