package replay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/sallyport-ssh/sallyport/replay/cast"
)

// quarantine is the directory in the spool for what cannot be sealed as it is.
const quarantine = "quarantine"

const spoolSuffix = ".cast"

func spoolPath(dir, id string) string { return filepath.Join(dir, id+spoolSuffix) }

// Recover seals what former lives of this gate left in the spool, and has it shipped. What is damaged is
// set aside and reported, joined with [ErrQuarantine]; what fails otherwise is tried again later. Neither
// stops anything else.
func (a *Archive) Recover(ctx context.Context) error {
	entries, err := os.ReadDir(a.o.SpoolDir)
	if err != nil {
		return fmt.Errorf("recover recordings: %w", err)
	}
	var errs []error
	ask := true // a store that does not answer is not waited for twice; shipping asks it again
	for _, e := range entries {
		id, ok := strings.CutSuffix(e.Name(), spoolSuffix)
		if !ok || !sessionID.MatchString(id) || a.find(id) != nil {
			continue
		}
		if err := a.recover(ctx, id, &ask); err != nil {
			errs = append(errs, fmt.Errorf("recover recording %s: %w", id, err))
		}
	}
	return errors.Join(errs...)
}

func (a *Archive) recover(ctx context.Context, id string, ask *bool) error {
	info, err := os.Lstat(a.path(id))
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is no regular file", a.path(id))
	}
	r := &Recording{a: a, id: id, added: time.Now(), ended: true, size: info.Size(), shipped: -1, working: true}
	if err := a.add(r); err != nil {
		return err
	}
	a.used.Add(r.size)
	if *ask {
		within, cancel := context.WithTimeout(ctx, askTimeout)
		err := r.yield(within, r.size)
		cancel()
		if r.aside() {
			return fmt.Errorf("%w: %w", ErrQuarantine, err)
		}
		*ask = err == nil
	}
	r.task.Lock()
	err = r.finish(ctx)
	r.task.Unlock()
	if r.aside() {
		return fmt.Errorf("%w: %w", ErrQuarantine, err)
	}
	r.settle(err)
	return err
}

// askTimeout bounds what a gate waits for the store when it starts.
const askTimeout = 5 * time.Second

// yield sets the recording aside where another gate took this one for lost and sealed what the store had of it.
// Size is how much this gate has. It returns why, or that the store could not be asked.
func (r *Recording) yield(ctx context.Context, size int64) error {
	taken, err := r.a.lib.adopted(ctx, r.id, size)
	if err != nil || !taken {
		return err
	}
	return r.setAside(errors.New("another gate took this one for lost and sealed the recording in the store"))
}

// allowCut sees to it that recovering destroys no evidence: a damaged file is kept as it was, and one whose
// damage reaches into what the store already has is set aside.
func (r *Recording) allowCut(ctx context.Context, m *cast.Remains) error {
	if !m.Damaged {
		return nil
	}
	covered, err := r.a.lib.covered(ctx, r.id)
	if err != nil {
		return fmt.Errorf("recover: ask the store: %w", err)
	}
	if covered > m.Keep {
		return r.setAside(fmt.Errorf("%s; the store has it up to byte %d", m.Report.Why, covered))
	}
	if err := copyFile(filepath.Join(r.a.o.SpoolDir, quarantine, r.id+".damaged"), r.a.path(r.id)); err != nil {
		return fmt.Errorf("recover: keep a copy: %w", err)
	}
	r.a.stats.quarantined.Add(1)
	r.a.alarm(r.id, "quarantine", fmt.Errorf("a copy was kept: %s", m.Report.Why))
	return nil
}

func copyFile(to, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if err == nil {
		err = out.Sync()
	}
	return errors.Join(err, out.Close())
}

// setAside moves the file out of the way and forgets it. It returns why, for the log.
func (r *Recording) setAside(why error) error {
	to := filepath.Join(r.a.o.SpoolDir, quarantine, r.id+spoolSuffix)
	if err := os.Rename(r.a.path(r.id), to); err != nil {
		return errors.Join(why, err)
	}
	r.a.drop(r)
	r.mu.Lock()
	r.a.used.Add(-r.size)
	r.size = 0
	r.mu.Unlock()
	r.a.stats.quarantined.Add(1)
	r.a.alarm(r.id, "quarantine", why)
	return why
}

// aside tells whether the archive has given the recording up.
func (r *Recording) aside() bool { return r.a.find(r.id) != r }
