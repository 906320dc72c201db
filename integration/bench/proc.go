package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// clockTick is the unit of CPU times in /proc; Linux has it at 100 a second on every architecture of Go's.
const clockTick = 10 * time.Millisecond

// A stat is what /proc/PID/stat says of a process.
type stat struct {
	pid, parent int
	name        string
	own         time.Duration // CPU time
	cpu         time.Duration // its own, and of the children it has waited for
}

// parseStat reads proc(5). The name is in parentheses, and may hold some itself.
func parseStat(text []byte) (s stat, err error) {
	open, end := bytes.IndexByte(text, '('), bytes.LastIndexByte(text, ')')
	if open < 1 || end < open {
		return s, fmt.Errorf("%.80q is no stat", text)
	}
	fields := strings.Fields(string(text[end+1:]))
	if len(fields) < 15 {
		return s, fmt.Errorf("%.80q is cut off", text)
	}
	s.name = string(text[open+1 : end])
	numbers := []int{}
	for _, f := range append([]string{strings.TrimSpace(string(text[:open])), fields[1]}, fields[11:15]...) {
		n, err := strconv.Atoi(f)
		if err != nil {
			return s, err
		}
		numbers = append(numbers, n)
	}
	s.pid, s.parent = numbers[0], numbers[1]
	s.own = time.Duration(numbers[2]+numbers[3]) * clockTick
	s.cpu = s.own + time.Duration(numbers[4]+numbers[5])*clockTick
	return s, nil
}

// family is the process root and all that descend from it.
func family(root int) ([]stat, error) {
	paths, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, err
	}
	children := map[int][]stat{}
	var found []stat
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if gone(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		s, err := parseStat(text)
		if err != nil {
			return nil, err
		}
		if s.pid == root {
			found = append(found, s)
		}
		children[s.parent] = append(children[s.parent], s)
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("process %d has ended", root)
	}
	for i := 0; i < len(found); i++ {
		found = append(found, children[found[i].pid]...)
	}
	return found, nil
}

// gone is what reading of a process that has just ended returns.
func gone(err error) bool { return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) }

// usage is CPU time: of a server with all it started, and of its first process alone.
type usage struct{ all, own time.Duration }

// cpu is what p and all it started have used.
func (p *proc) cpu() (u usage, err error) {
	processes, err := family(p.cmd.Process.Pid)
	for i, s := range processes {
		if i == 0 {
			u.own = s.own
		}
		u.all += s.cpu
	}
	return u, err
}

// memory is the proportional set size in bytes, in which what processes share counts once: of p and the
// processes of its own name, and of those that run in its sessions.
func (p *proc) memory() (own, sessions float64, err error) {
	all, err := family(p.cmd.Process.Pid)
	if err != nil {
		return 0, 0, err
	}
	for _, s := range all {
		n, err := proportional(s.pid)
		if gone(err) {
			continue
		}
		if err != nil {
			return 0, 0, err
		}
		if s.name == all[0].name {
			own += n
		} else {
			sessions += n
		}
	}
	return own, sessions, nil
}

func proportional(pid int) (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		var kb float64
		if _, err := fmt.Sscanf(line, "Pss: %f kB", &kb); err == nil {
			return kb * 1024, nil
		}
	}
	return 0, nil // it has ended, and its memory is gone already
}

// settle waits until p uses next to no CPU, so that what it does after one measurement, such as shipping
// a recording, does not weigh on the next one. It gives up after a while.
func (p *proc) settle(ctx context.Context) (usage, error) {
	const window, limit = 100 * time.Millisecond, 4 * time.Second
	before, err := p.cpu()
	for deadline := time.Now().Add(limit); err == nil && time.Now().Before(deadline); {
		select {
		case <-ctx.Done():
			return before, context.Cause(ctx)
		case <-time.After(window):
		}
		var now usage
		if now, err = p.cpu(); err == nil && now.all-before.all <= clockTick {
			return now, nil
		}
		before = now
	}
	return before, err
}
