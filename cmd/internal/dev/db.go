package dev

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sallyport-ssh/sallyport/cmd/internal/config"
	"github.com/sallyport-ssh/sallyport/shells/postgres/throwaway"
)

// startDB runs a throwaway PostgreSQL with customers, cards and orders, as the target db.
func (g *gate) startDB(ctx context.Context, c *config.Config) {
	var err error
	if g.db, err = throwaway.Start(ctx, filepath.Join(g.o.Dir, "db.log")); err == nil {
		err = fill(ctx, g.db)
	}
	if err != nil {
		g.notes = append(g.notes, fmt.Sprintf("There is no target db: %v", err))
		return
	}
	c.Targets = append(c.Targets, config.Target{
		Name: "db", Kind: "postgres", Description: "a throwaway PostgreSQL with made-up customers", Labels: map[string]string{"env": "demo"},
		Postgres: &config.PostgresTarget{
			URL: "postgres://gate@/shop?host=" + g.db.Dir, Logins: []string{"clerk", "owner"},
			Protected: []config.ProtectedColumn{{Column: "public.cards.number", Style: "last4"}},
		},
	})
}

// fill makes the demo database. The gate's own account may make roles, and is no superuser.
func fill(ctx context.Context, db *throwaway.Server) error {
	if err := run(ctx, db.URL("postgres"), `CREATE ROLE gate LOGIN CREATEROLE; CREATE ROLE clerk; CREATE ROLE owner;
		GRANT clerk, owner TO gate WITH ADMIN OPTION`, "CREATE DATABASE shop OWNER owner"); err != nil {
		return err
	}
	return run(ctx, db.URL("shop"), "SET ROLE owner", demoSchema, demoRows(), "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO clerk")
}

func run(ctx context.Context, url string, statements ...string) error {
	c, err := pgconn.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer c.Close(context.WithoutCancel(ctx))
	for _, text := range statements {
		if _, err := c.Exec(ctx, text).ReadAll(); err != nil {
			return err
		}
	}
	return nil
}

const demoSchema = `
CREATE TABLE customers (id int PRIMARY KEY, name text NOT NULL, email text UNIQUE NOT NULL, phone text, ssn text, since date);
CREATE TABLE cards (id int PRIMARY KEY, customer_id int NOT NULL REFERENCES customers, number text NOT NULL, expires date);
CREATE TABLE orders (id int PRIMARY KEY, customer_id int NOT NULL REFERENCES customers, amount numeric(10,2) NOT NULL, placed timestamptz NOT NULL, paid boolean NOT NULL);
CREATE VIEW spending AS SELECT c.name, c.email, sum(o.amount) AS total FROM customers c JOIN orders o ON o.customer_id = c.id GROUP BY 1, 2;
`

// demoRows are the people of the demo files, with their cards and orders.
func demoRows() string {
	r := rand.New(rand.NewPCG(2026, 11)) // the same data everywhere
	var customers, cards, orders []string
	for i := range 40 {
		p := newPerson(r, i)
		email := fmt.Sprintf("%s.%d@%s", strings.Split(p.Email, "@")[0], p.ID, strings.Split(p.Email, "@")[1])
		customers = append(customers, fmt.Sprintf("(%d, '%s', '%s', '%s', '%s', '%s')", p.ID, p.Name, email, p.Phone, p.SSN, p.Since))
		cards = append(cards, fmt.Sprintf("(%d, %d, '%s', '20%d-0%d-01')", 1+i, p.ID, p.Card, 27+r.IntN(5), 1+r.IntN(9)))
		for range 1 + r.IntN(5) {
			orders = append(orders, fmt.Sprintf("(%d, %d, %d.%02d, '2026-%02d-%02d %02d:00Z', %t)", 50001+len(orders), p.ID,
				5+r.IntN(900), r.IntN(100), 1+r.IntN(10), 1+r.IntN(28), r.IntN(24), r.IntN(4) > 0))
		}
	}
	return "INSERT INTO customers VALUES " + strings.Join(customers, ",") + "; INSERT INTO cards VALUES " + strings.Join(cards, ",") +
		"; INSERT INTO orders VALUES " + strings.Join(orders, ",") + "; ANALYZE"
}
