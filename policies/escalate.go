package policies

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// maxEscalations bounds the steps of one policy.
const maxEscalations = 8

// readEscalation reads "10m: leads; 30m: security, ciso".
func readEscalation(value string) ([]Escalation, error) {
	var all []Escalation
	for part := range strings.SplitSeq(value, ";") {
		after, groups, found := strings.Cut(part, ":")
		d, err := time.ParseDuration(strings.TrimSpace(after))
		names := splitList(groups)
		switch {
		case !found || err != nil || len(names) == 0:
			return nil, fmt.Errorf("%q is not a time and the groups that may answer from then on", strings.TrimSpace(part))
		case d < minWait || d > maxWait:
			return nil, fmt.Errorf("%s is out of bounds", d)
		case len(all) > 0 && d <= all[len(all)-1].After:
			return nil, fmt.Errorf("%s is not after %s", d, all[len(all)-1].After)
		}
		all = append(all, Escalation{d, names})
	}
	if len(all) > maxEscalations {
		return nil, fmt.Errorf("%d steps are more than %d", len(all), maxEscalations)
	}
	return all, nil
}

// groupsAt are the groups that may meet the need so long after it was asked.
func (n Need) groupsAt(waited time.Duration) []string {
	groups := n.Groups
	for _, e := range n.Escalate {
		if waited >= e.After {
			groups = union(groups, e.Groups)
		}
	}
	return groups
}

// mayAnswer reports whether p may meet the need so long after it was asked.
func (n Need) mayAnswer(p Principal, waited time.Duration) bool {
	return slices.ContainsFunc(n.groupsAt(waited), func(g string) bool { return slices.Contains(p.Groups, g) })
}

func (n Need) who() string { return strings.Join(n.Groups, " or ") }

func sameEscalation(a, b []Escalation) bool {
	return slices.EqualFunc(a, b, func(x, y Escalation) bool { return x.After == y.After && sameSet(x.Groups, y.Groups) })
}

func sortSteps(steps []Step) {
	slices.SortStableFunc(steps, func(a, b Step) int { return a.At.Compare(b.At) })
}

// union returns a and what b has besides. It does not change a.
func union(a, b []string) []string {
	out := slices.Clip(a)
	for _, s := range b {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

// escalated counts the steps that h has come to at a time.
func (h Hold) escalated(at time.Time) int {
	n := 0
	for _, s := range h.Escalations() {
		if !at.Before(s.At) {
			n++
		}
	}
	return n
}

// untilStep returns how long it is until the next step of h; false if there is none before it expires.
func (h Hold) untilStep(at time.Time) (time.Duration, bool) {
	for _, s := range h.Escalations() {
		if at.Before(s.At) && s.At.Before(h.Expires) {
			return s.At.Sub(at), true
		}
	}
	return 0, false
}
