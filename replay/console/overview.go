package console

import (
	"errors"
	"net/http"
	"time"

	"github.com/sallyport-ssh/sallyport/policies"
	"github.com/sallyport-ssh/sallyport/replay/ledger"
)

// overviewView is the first page. A block whose right the viewer lacks is left out.
type overviewView struct {
	MayList, MayApprove bool
	Own                 bool // only what is the viewer's own is listed
	Running             []ledger.Session
	Waiting             []card
	Denied              []deniedRow
	Day                 day
	Holds               holdsDay
	Alarms              []alarmRow
}

// day is what the last 24 hours hold.
type day struct {
	Sessions, Denied, Held, Masked int64
	Capped                         bool // there are more than were counted
	Bars                           []bar
	Peak                           int
}

// bar is one hour of the plot, in units of its view box.
type bar struct {
	X, Y, H, HeldY, HeldH, DeniedY, DeniedH float64
	Label                                   string
}

type deniedRow struct {
	Op ledger.Operation
	S  ledger.Session
}

const (
	plotHeight = 64.0
	plotStep   = 10.0
	maxCounted = 2000 // sessions looked at for the plot
	dayLength  = 24 * time.Hour
)

func (c *Console) overview(w http.ResponseWriter, r *http.Request, v *visit) error {
	var view overviewView
	own, listErr := c.scope(r, v, RecordingList)
	_, approvalErr := c.scope(r, v, ApprovalList)
	view.MayList, view.MayApprove, view.Own = listErr == nil, approvalErr == nil, own
	if listErr != nil && approvalErr != nil {
		return listErr
	}
	if err := errors.Join(undecided(listErr), undecided(approvalErr)); err != nil {
		return err
	}
	if view.MayApprove {
		holds, err := c.pending(r, v)
		if err != nil {
			return err
		}
		view.Waiting = c.cards(v, holds)
		if view.Holds, err = c.holdsOfDay(r, v, c.now().Add(-dayLength)); err != nil {
			return err
		}
	}
	if view.MayList {
		if err := c.overviewSessions(r, v, &view); err != nil {
			return err
		}
	}
	c.render(w, r, v, http.StatusOK, "overview", "Overview", view)
	return nil
}

func (c *Console) overviewSessions(r *http.Request, v *visit, view *overviewView) error {
	whose := whoseList(v, view.Own)
	live, _, err := c.o.Ledger.Sessions(r.Context(), ledger.SessionFilter{State: ledger.Live, Identity: whose, Limit: ledger.MaxLimit})
	if err != nil {
		return err
	}
	view.Running = c.visible(r, v, live)
	since := c.now().Add(-dayLength)
	all, capped, err := c.sessionsSince(r, v, since, whose)
	if err != nil {
		return err
	}
	if view.Alarms, err = c.alarms(r, v, all, since); err != nil {
		return err
	}
	view.Day = count(all, since, c.now())
	view.Day.Capped = capped
	known := map[string]ledger.Session{}
	for _, s := range all {
		known[s.ID] = s
	}
	ops, _, err := c.o.Ledger.SearchOperations(r.Context(), ledger.OperationFilter{Decision: "deny", Since: since, Identity: whose, Limit: 50})
	if err != nil {
		return err
	}
	for _, op := range ops {
		if s, ok := known[op.SessionID]; ok && len(view.Denied) < 8 {
			view.Denied = append(view.Denied, deniedRow{Op: op, S: s})
		}
	}
	return nil
}

// sessionsSince pages through what began since then, and tells whether it stopped before the end.
func (c *Console) sessionsSince(r *http.Request, v *visit, since time.Time, whose string) (all []ledger.Session, capped bool, err error) {
	f := ledger.SessionFilter{Since: since, Identity: whose, Limit: ledger.MaxLimit}
	for {
		page, next, err := c.o.Ledger.Sessions(r.Context(), f)
		if err != nil {
			return nil, false, err
		}
		all = append(all, c.visible(r, v, page)...)
		if next == "" || len(all) >= maxCounted {
			return all, next != "", nil
		}
		f.Cursor = next
	}
}

// whoseList is the identity that a list is narrowed to, "" for everybody's.
func whoseList(v *visit, own bool) string {
	if own {
		return v.viewer.Principal.Key
	}
	return ""
}

// visible leaves out the sessions that the gate does not let this viewer list.
func (c *Console) visible(r *http.Request, v *visit, all []ledger.Session) []ledger.Session {
	kept := all[:0:0]
	for _, s := range all {
		if c.admit(r, v, RecordingList, about(s)) == nil {
			kept = append(kept, s)
		}
	}
	return kept
}

// about is a session as the gate is asked about it.
func about(s ledger.Session) Object {
	o := Object{Target: policies.Target{Name: s.Target, Kind: s.TargetKind}, Session: s.ID, Owner: s.Identity.Key()}
	if s.OnBehalfOf != nil {
		o.OwnerFor = s.OnBehalfOf.Key()
	}
	return o
}

// count sums up sessions and plots them by the hour they began in.
func count(all []ledger.Session, since, now time.Time) day {
	var d day
	var hours [24]struct{ all, held, denied int }
	for _, s := range all {
		d.Sessions++
		d.Denied += s.Denied
		d.Held += s.Held
		d.Masked += s.Masked
		h := &hours[min(max(int(s.Started.Sub(since)/time.Hour), 0), 23)]
		h.all++
		switch {
		case s.Denied > 0:
			h.denied++
		case s.Held > 0:
			h.held++
		}
		d.Peak = max(d.Peak, h.all)
	}
	for i, h := range hours {
		d.Bars = append(d.Bars, plot(i, h.all, h.held, h.denied, d.Peak, since))
	}
	return d
}

func plot(i, all, held, denied, peak int, since time.Time) bar {
	scale := plotHeight / float64(max(peak, 4))
	b := bar{X: float64(i) * plotStep, H: float64(all) * scale, HeldH: float64(held) * scale, DeniedH: float64(denied) * scale}
	b.Y = plotHeight - b.H
	b.DeniedY = plotHeight - b.DeniedH
	b.HeldY = b.DeniedY - b.HeldH
	from := since.Add(time.Duration(i) * time.Hour).UTC()
	b.Label = from.Format("15:04") + "–" + from.Add(time.Hour).Format("15:04") + " UTC: " + plural(all, "session")
	if denied > 0 {
		b.Label += ", " + plural(denied, "of them with a denial", "of them with denials")
	}
	if held > 0 {
		b.Label += ", " + plural(held, "with a hold", "with holds")
	}
	return b
}

// plural counts things: "1 session", "2 sessions".
func plural(n int, one string, many ...string) string {
	if n == 1 {
		return "1 " + one
	}
	if len(many) > 0 {
		return itoa(n) + " " + many[0]
	}
	return itoa(n) + " " + one + "s"
}
