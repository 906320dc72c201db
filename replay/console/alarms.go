package console

import (
	"cmp"
	"net/http"
	"slices"
	"time"

	"github.com/sallyport-ssh/sallyport/policies"
	"github.com/sallyport-ssh/sallyport/replay/ledger"
)

// maxAlarms bounds those of the overview, and how many denied events are counted for it.
const maxAlarms = 8

// alarmRow is something that wants to be looked at.
type alarmRow struct {
	At    time.Time
	Title string
	Text  string
	URL   string
	Bad   bool
}

// alarms gathers what went wrong in the last day: at this gate's recorder, with recordings of any gate, and who was
// turned away.
func (c *Console) alarms(r *http.Request, v *visit, all []ledger.Session, since time.Time) ([]alarmRow, error) {
	var out []alarmRow
	for _, s := range all {
		if s.State == ledger.Truncated || s.State == ledger.Lost || s.State == ledger.Recovered {
			w := stateOf(s.State)
			out = append(out, alarmRow{cmp.Or(s.Ended, s.Started), "Recording " + w.Label, person(s.Identity) + " on " + brief(60, s.Target), "/sessions/" + s.ID, w.Tone == "bad"})
		}
	}
	if c.admit(r, v, RecordingList, Object{}) == nil {
		if c.o.Alarms != nil {
			for _, a := range c.o.Alarms() {
				row := alarmRow{a.At, "Recorder: " + plain(a.What), brief(120, a.Text), "", true}
				if validID(a.Session) {
					row.URL = "/sessions/" + a.Session
				}
				out = append(out, row)
			}
		}
		events, _, err := c.o.Ledger.Audit(r.Context(), ledger.AuditFilter{Denied: true, Since: since, Limit: ledger.MaxLimit})
		if err != nil {
			return nil, err
		}
		out = append(out, turnedAway(events)...)
	}
	out = slices.DeleteFunc(out, func(a alarmRow) bool { return a.At.Before(since) })
	slices.SortStableFunc(out, func(a, b alarmRow) int { return b.At.Compare(a.At) })
	return out[:min(len(out), maxAlarms)], nil
}

// turnedAway sums events of one kind up, the latest first.
func turnedAway(events []ledger.Event) []alarmRow {
	var out []alarmRow
	at := map[string]int{}
	count := map[string]int64{}
	for _, e := range events {
		count[e.Kind] += e.Count
		if _, ok := at[e.Kind]; !ok {
			at[e.Kind] = len(out)
			text := "last from " + brief(60, e.Source)
			if who := cmp.Or(e.ActorName, e.Actor); who != "" {
				text = "last " + brief(60, who)
			}
			out = append(out, alarmRow{e.Last, plain(e.Kind), text, "/audit?denied=yes&within=24h&kind=" + e.Kind, false})
		}
	}
	for kind, i := range at {
		out[i].Title += " ×" + itoa(int(count[kind]))
	}
	return out
}

// holdsDay plots the requests of the last day by the hour they were asked in.
type holdsDay struct {
	Bars                   []bar
	Asked, Denied, Expired int
	Peak                   int
}

func countHolds(all []policies.Hold, since time.Time) holdsDay {
	var d holdsDay
	var hours [24]struct{ asked, denied, expired int }
	for _, h := range all {
		i := min(max(int(h.Asked.Sub(since)/time.Hour), 0), 23)
		d.Asked++
		hours[i].asked++
		switch h.State {
		case policies.StateDenied:
			d.Denied++
			hours[i].denied++
		case policies.StateExpired, policies.StateWithdrawn, policies.StateLost:
			d.Expired++
			hours[i].expired++
		}
		d.Peak = max(d.Peak, hours[i].asked)
	}
	for i, h := range hours {
		b := plot(i, h.asked, h.expired, h.denied, d.Peak, since)
		from := since.Add(time.Duration(i) * time.Hour).UTC()
		b.Label = from.Format("15:04") + "–" + from.Add(time.Hour).Format("15:04") + " UTC: " + plural(h.asked, "request") + ", " + itoa(h.denied) + " denied, " + itoa(h.expired) + " without an answer"
		d.Bars = append(d.Bars, b)
	}
	return d
}

// maxHoldsCounted bounds the requests that the plot counts.
const maxHoldsCounted = 2000

func (c *Console) holdsOfDay(r *http.Request, v *visit, since time.Time) (holdsDay, error) {
	all, err := c.o.Ledger.Holds(r.Context(), policies.HoldFilter{Since: since, Limit: maxHoldsCounted})
	if err != nil {
		return holdsDay{}, err
	}
	all = slices.DeleteFunc(all, func(h policies.Hold) bool { return c.admit(r, v, ApprovalList, aboutHold(h)) != nil })
	return countHolds(all, since), nil
}
