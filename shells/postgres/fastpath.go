package postgres

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sallyport-ssh/sallyport/filters/sql"
)

// A function is what the catalog says of one that the fastpath protocol calls by number: libpq's large objects are
// made of such calls.
type function struct {
	schema, name string
	result       uint32   // type of its value
	args         []uint32 // and of its arguments
	format       int16    // in which the value comes back
}

// function looks a function up; nil when there is none. What is below firstUserOID never changes.
func (c *catalog) function(ctx context.Context, id uint32) (*function, error) {
	c.mu.Lock()
	known := c.called[id]
	c.mu.Unlock()
	if known != nil {
		return known, nil
	}
	var found *function
	err := c.account.run(ctx, fmt.Sprintf(`SELECT n.nspname, p.proname, p.prorettype::oid, p.proargtypes FROM pg_proc p
		JOIN pg_namespace n ON n.oid = p.pronamespace WHERE p.oid = %d`, id), func(r *pgconn.Result) {
		for _, row := range r.Rows {
			found = &function{schema: string(row[0]), name: string(row[1]), result: oid(row[2])}
			for _, a := range strings.Fields(string(row[3])) {
				found.args = append(found.args, oid([]byte(a)))
			}
		}
	})
	if err != nil {
		return nil, fmt.Errorf("look a function up: %w", err)
	}
	if found != nil && id < firstUserOID {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.called == nil {
			c.called = map[uint32]*function{}
		}
		c.called[id] = found
	}
	return found, nil
}

// call is a call by the fastpath protocol: decided on like a statement, as sql:call, which is refused where no policy
// permits it.
func (f *frontend) call(m []byte, b *body) error {
	id, formats := b.oid(), b.formats()
	var values [][]byte
	for range b.int16() {
		values = append(values, b.value())
		if b.bad {
			break
		}
	}
	format := int16(b.int16())
	if b.bad || len(b.p) > 0 {
		return fmt.Errorf("%w: a FunctionCall that cannot be read", errProtocol)
	}
	f.letGo()
	op, fn, err := f.admitCall(id, values, formats)
	after := ""
	if err == nil {
		var u unit
		u.add(op.st)
		after, err = f.before(u)
	}
	var refusal *Refusal
	if errors.As(err, &refusal) {
		f.refuse("", refusal)
		return nil
	}
	if err != nil {
		return err
	}
	called := *fn
	called.format = format
	f.s.push(&expected{kind: owedQuery, group: f.group, ops: []*operation{op}, called: &called, sets: f.sets([]*operation{op})})
	f.group++
	f.buf = append(f.buf, m...)
	if after != "" {
		f.own(after, false)
	}
	return nil
}

// admitCall decides on it.
func (f *frontend) admitCall(id uint32, values [][]byte, formats []int16) (*operation, *function, error) {
	fn, err := f.s.catalog.function(f.s.ctx, id)
	if err != nil {
		return nil, nil, err
	}
	if fn == nil {
		fn = &function{schema: "?", name: strconv.Itoa(int(id))}
	}
	st := sql.Call(fn.schema, fn.name)
	parameters := make([]string, len(values))
	for i := range parameters {
		parameters[i] = "$" + strconv.Itoa(i+1)
	}
	text := fmt.Sprintf("SELECT %s(%s)", dot(fn.schema, fn.name), strings.Join(parameters, ", "))
	op, err := f.admit(&st, text, shown(values, formats, fn.args))
	return op, fn, err
}

// returned takes the value of a call.
func (b *backend) returned(m []byte, e *expected) error {
	d := &body{p: m[header:]}
	was := d.value()
	if d.bad || len(d.p) > 0 {
		return errUnasked
	}
	op := e.op()
	p := b.values.planFor([]field{{typ: e.called.result, format: e.called.format}}, nil, op, b.s.guarded)
	now := was
	if was != nil && !b.s.clear {
		now = b.values.column(was, p, 0)
	}
	b.out = message(b.out, 'V', func(o []byte) []byte { return appendValue(o, now) })
	b.shown.statement(op)
	op.bytes += int64(len(m))
	if was != nil && now == nil || string(was) != string(now) {
		op.masked++
	}
	return b.done(op, "FUNCTION CALL", "")
}
