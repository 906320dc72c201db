package ledger

import (
	"context"
	"embed"
	"fmt"
	"io/fs"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

//go:embed migrations
var migrations embed.FS

// migrate brings the tables up to date, or refuses those that a newer program made: it cannot know
// what their columns mean.
func (l *Ledger) migrate(ctx context.Context) error {
	p, err := l.migrator()
	if err != nil {
		return fmt.Errorf("migrations: %w", err)
	}
	for attempt := 0; ; attempt++ {
		have, want, err := p.GetVersions(ctx)
		if err != nil {
			return fmt.Errorf("read the version of the tables: %w", err)
		}
		if have > want {
			return fmt.Errorf("%w: its tables are version %d, this program knows up to %d; run the newer sallyport, or restore a backup", ErrNewer, have, want)
		}
		if have == want {
			return nil
		}
		// On SQLite another process can win the race to make the tables; then this attempt fails and
		// the next finds them made.
		if _, err := p.Up(ctx); err != nil && (attempt == 1 || ctx.Err() != nil) {
			return fmt.Errorf("bring the tables from version %d to %d: %w", have, want, err)
		}
	}
}

func (l *Ledger) migrator() (*goose.Provider, error) {
	dir, d := "migrations/sqlite", goose.DialectSQLite3
	opts := []goose.ProviderOption{goose.WithDisableGlobalRegistry(true), goose.WithTableName("ledger_version")}
	if l.kind == inPostgres {
		dir, d = "migrations/postgres", goose.DialectPostgres
		locker, err := lock.NewPostgresSessionLocker()
		if err != nil {
			return nil, err
		}
		opts = append(opts, goose.WithSessionLocker(locker))
	}
	files, err := fs.Sub(migrations, dir)
	if err != nil {
		return nil, err
	}
	return goose.NewProvider(d, l.w, files, opts...)
}
