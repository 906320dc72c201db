package replay_test

import (
	"context"
	"testing"
)

// t0 is the context of a process that is going to be killed.
var t0 = context.Background()

// panicker is the testing.TB of a process that runs no test.
type panicker struct{ testing.TB }

func (*panicker) Helper() {}

func (*panicker) Fatal(args ...any) { panic(args) }
