package daemon

import (
	"context"
	"os"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
)

// settle is how long policy files must be quiet before they are read: editors write in several steps.
const settle = 200 * time.Millisecond

// watchPolicies reloads the policies when their files change. Directories are watched, because an editor
// that replaces a file leaves a watch on the file behind with the old one.
func (d *Daemon) watchPolicies(ctx context.Context) {
	if len(d.config.Policies) == 0 {
		return
	}
	w, err := fsnotify.NewWatcher()
	if err != nil {
		d.log.Error("policies are not watched; send SIGHUP after a change", "error", err)
		return
	}
	defer w.Close()
	for _, path := range d.config.Policies {
		if info, err := os.Stat(path); err != nil || !info.IsDir() {
			path = filepath.Dir(path)
		}
		if err := w.Add(path); err != nil {
			d.log.Error("policies are not watched; send SIGHUP after a change", "path", path, "error", err)
		}
	}
	quiet := time.NewTimer(time.Hour)
	quiet.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.Events:
			quiet.Reset(settle)
		case err := <-w.Errors:
			d.log.Error("watching policies", "error", err)
		case <-quiet.C:
			if err := d.Reload(); err != nil {
				d.log.Error("policies not reloaded; the old ones stay in force", "error", err)
			}
		}
	}
}
