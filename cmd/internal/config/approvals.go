package config

import (
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport-ssh/sallyport/policies"
	"github.com/sallyport-ssh/sallyport/policies/notify"
)

// OnCall is a group whose members change with the time. Policies name it like any other:
// @hold("dba-on-call"). Nobody is in it by their token.
type OnCall struct {
	// Group is what policies call it.
	Group string `yaml:"group"`
	// Zone is the time zone of the shifts, as Europe/Berlin. Default UTC.
	Zone string `yaml:"zone"`
	// Shifts say who is on call when. Several may be at once.
	Shifts []Shift `yaml:"shifts"`
}

// Shift is when members are on call: on Days between From and To, and only between Start and End.
type Shift struct {
	// Members are verified e-mail addresses, or identities as issuer#subject.
	Members []string `yaml:"members"`
	// Days are mon to sun. Default every day. A shift through the night belongs to the day it begins on.
	Days []string `yaml:"days"`
	// From and To are times of day, as 08:00. Default the whole day.
	From string `yaml:"from"`
	To   string `yaml:"to"`
	// Start and End are times with a zone, as 2026-12-24T18:00:00+01:00. Default always.
	Start string `yaml:"start"`
	End   string `yaml:"end"`
}

// Webhook tells somebody what becomes of held operations. It is answered in the console and nowhere
// else. A message holds no secret: the operation's text is masked and cut.
type Webhook struct {
	// Name is its own; what was sent is remembered under it.
	Name string `yaml:"name"`
	// Kind is generic (JSON, signed; default) or slack.
	Kind string `yaml:"kind"`
	// URL is where to; URLFile a file that holds it, for those that are a secret. Exactly one.
	URL     string `yaml:"url"`
	URLFile string `yaml:"url_file"`
	// SecretFile holds what signs a generic webhook, at least 32 bytes.
	SecretFile string `yaml:"secret_file"`
	// Events are asked, progress, escalated and ended. Default asked and escalated.
	Events []string `yaml:"events"`
	// Groups limits it to requests that one of them may answer. Default all.
	Groups []string `yaml:"groups"`
	// AllowAddresses are networks that may be sent to besides public addresses, as 10.1.2.0/24.
	AllowAddresses []string `yaml:"allow_addresses"`
	// InsecurePlaintext allows an http:// URL.
	InsecurePlaintext bool `yaml:"insecure_plaintext"`
	// Timeout bounds one try. Default 10s.
	Timeout Duration `yaml:"timeout"`
}

// Networks returns AllowAddresses.
func (w Webhook) Networks() ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, s := range w.AllowAddresses {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return nil, fmt.Errorf("%q is not a network", s)
		}
		out = append(out, p.Masked())
	}
	return out, nil
}

// Roster makes the on-call groups of the configuration; nil if there are none.
func (c *Config) Roster() (*policies.Roster, error) {
	if len(c.OnCall) == 0 {
		return nil, nil
	}
	var duties []policies.Duty
	for i, o := range c.OnCall {
		d, err := o.duty()
		if err != nil {
			return nil, fmt.Errorf("on_call[%d]: %w", i, err)
		}
		duties = append(duties, d)
	}
	return policies.NewRoster(duties)
}

func (o OnCall) duty() (policies.Duty, error) {
	zone, err := time.LoadLocation(o.Zone)
	if err != nil || o.Zone == "Local" {
		return policies.Duty{}, fmt.Errorf("zone: %q is not a time zone", o.Zone)
	}
	d := policies.Duty{Group: o.Group, Zone: zone}
	for i, s := range o.Shifts {
		shift, err := s.shift()
		if err != nil {
			return d, fmt.Errorf("shifts[%d].%w", i, err)
		}
		d.Shifts = append(d.Shifts, shift)
	}
	return d, nil
}

var weekdays = []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}

func (s Shift) shift() (out policies.Shift, err error) {
	out.Members = s.Members
	for _, name := range s.Days {
		day := slices.Index(weekdays, strings.ToLower(name))
		if day < 0 {
			return out, fmt.Errorf("days: %q is none of %s", name, strings.Join(weekdays, ", "))
		}
		out.Days = append(out.Days, time.Weekday(day))
	}
	if (s.From == "") != (s.To == "") {
		return out, fmt.Errorf("from: give from and to, or neither")
	}
	if out.From, err = minuteOf(s.From); err != nil {
		return out, fmt.Errorf("from: %w", err)
	}
	if out.To, err = minuteOf(s.To); err != nil {
		return out, fmt.Errorf("to: %w", err)
	}
	if out.Start, err = timeOf(s.Start); err != nil {
		return out, fmt.Errorf("start: %w", err)
	}
	if out.End, err = timeOf(s.End); err != nil {
		return out, fmt.Errorf("end: %w", err)
	}
	return out, nil
}

// minuteOf reads 08:00 as minutes since midnight, 24:00 included.
func minuteOf(s string) (int, error) {
	if s == "" {
		return 0, nil
	}
	h, m, ok := strings.Cut(s, ":")
	hour, errH := strconv.Atoi(h)
	minute, errM := strconv.Atoi(m)
	if !ok || len(h) != 2 || len(m) != 2 || errH != nil || errM != nil || hour < 0 || minute < 0 || minute > 59 || hour*60+minute > 24*60 {
		return 0, fmt.Errorf("%q is not a time of day", s)
	}
	return hour*60 + minute, nil
}

func timeOf(s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return t, fmt.Errorf("%q is not a time with a zone", s)
	}
	return t, nil
}

func (c *Config) validateOnCall() []problem {
	var p problems
	seen := map[string]bool{}
	for i, o := range c.OnCall {
		at := fmt.Sprintf("$.on_call[%d]", i)
		if o.Group == "" || seen[o.Group] {
			p.add(at+".group", "give each its own name", "%q is missing, or taken", o.Group)
		}
		seen[o.Group] = true
		duty, err := o.duty()
		if err == nil {
			duty.Group = "named"
			_, err = policies.NewRoster([]policies.Duty{duty})
		}
		if err != nil {
			p.add(at, "zone: Europe/Berlin; days: [mon, fri]; from: \"08:00\"; start: 2026-12-24T18:00:00+01:00", "%v", err)
		}
	}
	return p
}

func (c *Config) validateWebhooks() []problem {
	var p problems
	seen := map[string]bool{}
	for i, w := range c.Webhooks {
		at := fmt.Sprintf("$.webhooks[%d]", i)
		if !validName.MatchString(w.Name) || seen[w.Name] {
			p.add(at+".name", "give each its own, of letters, digits, dots and hyphens", "%q cannot be a webhook's name, or is taken", w.Name)
		}
		seen[w.Name] = true
		if (w.URL == "") == (w.URLFile == "") {
			p.add(at, "give url, or url_file with a file that holds it", "needs exactly one address")
		}
		if w.URL != "" {
			if u, err := url.Parse(w.URL); err != nil || u.Host == "" || u.Scheme != "https" && !(u.Scheme == "http" && w.InsecurePlaintext) {
				p.add(at+".url", "write https://host/path; http:// only with insecure_plaintext: true", "is not an address to send to")
			}
		}
		switch w.Kind {
		case "", string(notify.Generic):
			if w.SecretFile == "" {
				p.add(at+".secret_file", "name a file with at least 32 random bytes", "a generic webhook is signed, and needs a secret")
			}
		case string(notify.Slack):
		default:
			p.add(at+".kind", `write "generic" or "slack"`, "%q is neither", w.Kind)
		}
		for _, e := range w.Events {
			if !slices.Contains(notify.EventNames(), e) {
				p.add(at+".events", "choose from "+strings.Join(notify.EventNames(), ", "), "%q is no event", e)
			}
		}
		if _, err := w.Networks(); err != nil {
			p.add(at+".allow_addresses", "write 10.1.2.0/24", "%v", err)
		}
	}
	return p
}
