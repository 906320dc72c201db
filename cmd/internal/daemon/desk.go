package daemon

import (
	"slices"
	"sync"
	"time"

	"github.com/sallyport-ssh/sallyport/policies"
	"github.com/sallyport-ssh/sallyport/replay"
	"github.com/sallyport-ssh/sallyport/replay/console"
)

// rules shows the console what is in force.
type rules struct{ d *Daemon }

func (r rules) Policies() []policies.Listed { return r.d.engine.Set().List() }

func (r rules) Targets() []console.Target {
	var out []console.Target
	for _, t := range r.d.targets.All() {
		out = append(out, console.Target{Target: t.Target, Description: t.Description, Address: t.Address, Login: t.Login})
	}
	return out
}

// maxAlarms is how many alarms are kept for the console; the log has all.
const maxAlarms = 50

// alarms keeps the latest ones.
type alarms struct {
	mu  sync.Mutex
	all []console.Alarm // the latest last
}

func (a *alarms) add(r replay.Alarm) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.all) == maxAlarms {
		a.all = slices.Delete(a.all, 0, 1)
	}
	out := console.Alarm{At: time.Now(), What: r.What, Session: r.Session}
	if r.Err != nil {
		out.Text = r.Err.Error()
	}
	a.all = append(a.all, out)
}

// latest returns them, the latest first.
func (a *alarms) latest() []console.Alarm {
	a.mu.Lock()
	defer a.mu.Unlock()
	all := slices.Clone(a.all)
	slices.Reverse(all)
	return all
}
