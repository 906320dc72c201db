package policies

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// A Roster says who is on call: it puts people into groups for a time. A group that a roster is about is in nobody's
// token: whoever claims it there is not in it. A nil Roster changes nobody's groups. It is immutable.
type Roster struct{ duties []Duty }

// A Duty is one group whose members change with the time.
type Duty struct {
	Group  string
	Zone   *time.Location // of the shifts; nil is UTC
	Shifts []Shift
}

// A Shift is when members are on duty: on Days (none: every day) between the minutes From and To of the day, where a To
// that is not after From is on the day after; and in any case only between Start and End, where those are set. With
// neither times of day nor dates the members are on duty always.
type Shift struct {
	Members    []string // verified e-mail addresses, or keys (issuer#subject)
	Days       []time.Weekday
	From, To   int // minutes since midnight; both 0: the whole day
	Start, End time.Time
}

// ErrRoster is the error of [NewRoster].
var ErrRoster = errors.New("not a roster")

// NewRoster checks duties and makes a roster of them; ErrRoster says what is wrong.
func NewRoster(duties []Duty) (*Roster, error) {
	seen := map[string]bool{}
	for _, d := range duties {
		if d.Group == "" || seen[d.Group] {
			return nil, fmt.Errorf("%w: a group without a name, or %q twice", ErrRoster, d.Group)
		}
		seen[d.Group] = true
		for i, s := range d.Shifts {
			if err := s.check(); err != nil {
				return nil, fmt.Errorf("%w: shift %d of %s: %w", ErrRoster, i+1, d.Group, err)
			}
		}
	}
	return &Roster{duties}, nil
}

func (s Shift) check() error {
	const day = 24 * 60
	switch {
	case len(s.Members) == 0:
		return errors.New("nobody is on duty")
	case slices.Contains(s.Members, ""):
		return errors.New("a member without a name")
	case s.From < 0 || s.From >= day || s.To < 0 || s.To > day:
		return errors.New("a time that no day has")
	case !s.Start.IsZero() && !s.End.IsZero() && !s.End.After(s.Start):
		return errors.New("it ends before it starts")
	}
	return nil
}

// Empty reports whether nobody's groups change.
func (r *Roster) Empty() bool { return r == nil || len(r.duties) == 0 }

// At returns p with the groups that they are in at a time. It does not change p.
func (r *Roster) At(p Principal, at time.Time) Principal {
	if r.Empty() {
		return p
	}
	p = *p.clone()
	for q := &p; q != nil; q = q.OnBehalfOf {
		q.Groups = slices.DeleteFunc(q.Groups, r.about)
		for _, d := range r.duties {
			if d.onDuty(*q, at) {
				q.Groups = append(q.Groups, d.Group)
			}
		}
	}
	return p
}

func (r *Roster) about(group string) bool {
	return slices.ContainsFunc(r.duties, func(d Duty) bool { return d.Group == group })
}

// OnDuty returns who is on call for a group at a time, and whether the roster is about the group at all.
func (r *Roster) OnDuty(group string, at time.Time) (members []string, known bool) {
	if r == nil {
		return nil, false
	}
	for _, d := range r.duties {
		if d.Group != group {
			continue
		}
		known = true
		for _, s := range d.Shifts {
			if s.covers(at.In(d.zone())) {
				members = union(members, s.Members)
			}
		}
	}
	return members, known
}

func (d Duty) zone() *time.Location {
	if d.Zone == nil {
		return time.UTC
	}
	return d.Zone
}

func (d Duty) onDuty(p Principal, at time.Time) bool {
	return p.Kind == Human && slices.ContainsFunc(d.Shifts, func(s Shift) bool { return s.has(p) && s.covers(at.In(d.zone())) })
}

func (s Shift) has(p Principal) bool {
	return slices.ContainsFunc(s.Members, func(m string) bool {
		return m == p.Key || p.Email != "" && strings.EqualFold(m, p.Email)
	})
}

// covers reports whether the shift is on at a time, which is in the roster's zone.
func (s Shift) covers(at time.Time) bool {
	if !s.Start.IsZero() && at.Before(s.Start) || !s.End.IsZero() && !at.Before(s.End) {
		return false
	}
	minute := at.Hour()*60 + at.Minute()
	day := at.Weekday()
	switch {
	case s.From == s.To: // the whole day
	case s.From < s.To:
		if minute < s.From || minute >= s.To {
			return false
		}
	case minute >= s.From: // through the night, before midnight
	case minute < s.To: // through the night, after it: the shift began yesterday
		day = (day + 6) % 7
	default:
		return false
	}
	return len(s.Days) == 0 || slices.Contains(s.Days, day)
}
