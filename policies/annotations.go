package policies

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// What a hold has where its policy says nothing, and the bounds of what it may say.
const (
	defaultWait = 10 * time.Minute
	minWait     = time.Second
	maxWait     = 7 * 24 * time.Hour
	maxGrant    = 7 * 24 * time.Hour
	maxAdvance  = 7 * 24 * time.Hour
	maxQuorum   = 16
	maxWhy      = 500
)

var annotationNames = []string{"id", "hold", "wait", "grant", "reason", "quorum", "escalate", "advance", "record", "why"}

var validID = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:/+-]{0,79}$`)

// annotations is what the annotations of one policy say.
type annotations struct {
	id    string
	why   string
	holds bool
	terms Terms // if holds
	input bool  // what is typed in a session that it lets in is recorded

	escalate []Escalation
}

// annotationError is a problem with one annotation.
type annotationError struct{ name, what, hint string }

func (e *annotationError) Error() string { return "@" + e.name + ": " + e.what }

// readAnnotations understands the annotations of a policy. It returns every problem it finds.
func readAnnotations(permit bool, given map[string]string) (annotations, []*annotationError) {
	var a annotations
	var errs []*annotationError
	fail := func(name, hint, what string, args ...any) {
		errs = append(errs, &annotationError{name, fmt.Sprintf(what, args...), hint})
	}
	_, a.holds = given["hold"]
	a.terms = Terms{Wait: defaultWait, Quorum: 1}
	for _, name := range sortedKeys(given) {
		value := given[name]
		if !slices.Contains(annotationNames, name) {
			fail(name, didYouMean(name, annotationNames, "there are @"+strings.Join(annotationNames, " @")), "unknown annotation")
			continue
		}
		if name != "id" && name != "why" {
			if !permit {
				fail(name, "a forbid always denies; write it on a permit", "only a permit can have it")
				continue
			}
			if !a.holds && name != "record" {
				fail(name, `add @hold("group"), or remove it`, "means nothing without @hold")
				continue
			}
		}
		if what, hint := a.read(name, value); what != "" {
			fail(name, hint, "%s", what)
		}
	}
	if a.holds {
		a.terms.Needs = []Need{{Policy: a.id, Groups: a.terms.Approvers, Quorum: a.terms.Quorum, Escalate: a.escalate}}
		if n := len(a.escalate); n > 0 && a.escalate[n-1].After >= a.terms.Wait {
			fail("escalate", fmt.Sprintf("make @wait longer than %s, or escalate sooner", a.escalate[n-1].After),
				"the wait is over after %s, before the last step", a.terms.Wait)
		}
	} else {
		a.terms = Terms{}
	}
	return a, errs
}

// read takes one annotation, and returns what is wrong with it and what to do, if anything.
func (a *annotations) read(name, value string) (what, hint string) {
	switch name {
	case "id":
		a.id = value
		if !validID.MatchString(value) {
			return fmt.Sprintf("%q cannot be an id", value), "use up to 80 letters, digits and . _ : / + -"
		}
	case "why":
		a.why = value
		if value == "" || len(value) > maxWhy || Render([]byte(value)) != value {
			return "is not one plain line", fmt.Sprintf("write a sentence of up to %d bytes for whoever is refused or held", maxWhy)
		}
	case "hold":
		return a.readGroups(value)
	case "wait":
		return readDuration(value, minWait, maxWait, &a.terms.Wait)
	case "grant":
		if a.terms.Session = value == "session"; a.terms.Session {
			return "", ""
		}
		if what, _ := readDuration(value, minWait, maxGrant, &a.terms.Grant); what != "" {
			return what, fmt.Sprintf(`write @grant("15m"), %s to %s, or @grant("session")`, minWait, maxGrant)
		}
	case "advance":
		return readDuration(value, minWait, maxAdvance, &a.terms.Advance)
	case "escalate":
		var err error
		if a.escalate, err = readEscalation(value); err != nil {
			return err.Error(), `write @escalate("10m: leads"), further steps with semicolons`
		}
	case "reason":
		a.terms.Reason = true
		if value != "required" {
			return fmt.Sprintf("%q is not known", value), `write @reason("required"), or remove it`
		}
	case "record":
		if a.input = value == "input"; !a.input {
			return fmt.Sprintf("%q is not known", value), `write @record("input"), or remove it: all else is recorded always`
		}
	case "quorum":
		n, err := strconv.Atoi(value)
		if err != nil || n < 1 || n > maxQuorum {
			return fmt.Sprintf("%q is not a number of people", value), fmt.Sprintf(`write a number from 1 to %d, as @quorum("2")`, maxQuorum)
		}
		a.terms.Quorum = n
	}
	return "", ""
}

func (a *annotations) readGroups(value string) (what, hint string) {
	for g := range strings.SplitSeq(value, ",") {
		g = strings.TrimSpace(g)
		if g == "" {
			return "names no group that may approve", `write @hold("approvers"), several groups with commas`
		}
		if !slices.Contains(a.terms.Approvers, g) {
			a.terms.Approvers = append(a.terms.Approvers, g)
		}
	}
	return "", ""
}

func readDuration(s string, least, most time.Duration, into *time.Duration) (what, hint string) {
	d, err := time.ParseDuration(s)
	if err != nil {
		return fmt.Sprintf("%q is not a duration", s), "write 90s, 10m or 1h30m"
	}
	if d < least || d > most {
		return fmt.Sprintf("%s is out of bounds", s), fmt.Sprintf("use %s to %s", least, most)
	}
	*into = d
	return "", ""
}

// combine returns the terms that satisfy every one of all: each policy's need must be met by itself (identical needs
// once), the shortest wait and the narrowest cover count, and one that asks for a reason is enough.
func combine(all []Terms) Terms {
	var t Terms
	for i, u := range all {
		for _, n := range u.needs() {
			t.need(n)
		}
		if i == 0 {
			t.Wait, t.Grant, t.Session, t.Advance = u.Wait, u.Grant, u.Session, u.Advance
		}
		t.Wait, t.Advance = min(t.Wait, u.Wait), min(t.Advance, u.Advance)
		t.Grant, t.Session = narrowest(t, u)
		t.Reason = t.Reason || u.Reason
		t.Quorum = max(t.Quorum, u.Quorum)
	}
	return t
}

// need adds n, unless one who meets what is there meets n as well.
func (t *Terms) need(n Need) {
	for _, g := range n.Groups {
		if !slices.Contains(t.Approvers, g) {
			t.Approvers = append(t.Approvers, g)
		}
	}
	for _, m := range t.Needs {
		if m.Quorum >= n.Quorum && sameSet(m.Groups, n.Groups) && sameEscalation(m.Escalate, n.Escalate) {
			return
		}
	}
	t.Needs = append(t.Needs, Need{Policy: n.Policy, Groups: slices.Clone(n.Groups), Quorum: n.Quorum, Escalate: slices.Clone(n.Escalate)})
}

func sameSet(a, b []string) bool {
	within := func(x, y []string) bool {
		return !slices.ContainsFunc(x, func(s string) bool { return !slices.Contains(y, s) })
	}
	return within(a, b) && within(b, a)
}
