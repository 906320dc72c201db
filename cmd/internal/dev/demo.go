package dev

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
)

// writeDemo lays out what is at /srv/demo of the target demo: people who do not exist, with numbers that
// are valid by their check digits and belong to nobody (card numbers of the schemes' test ranges, IBANs of
// a made-up bank). Files that are there are kept; those that were removed come back.
func writeDemo(dir string) error {
	r := rand.New(rand.NewPCG(2026, 11)) // the same data everywhere
	people := make([]person, 40)
	for i := range people {
		people[i] = newPerson(r, i)
	}
	files := map[string]string{
		"README.txt":             demoReadme,
		"customers.csv":          customersCSV(people),
		"orders.json":            ordersJSON(r, people),
		"app/config.env":         configEnv(),
		"app/deploy.log":         deployLog(r),
		"old/2019-export.csv":    customersCSV(people[:5]),
		"old/notes.txt":          "Exports of 2019. Nobody has needed them since; remove when in doubt.\n",
		"old/backup/db.dump.log": "pg_dump: dumped 40 rows of public.customers\n",
	}
	for name, text := range files {
		if err := writeOnce(filepath.Join(dir, name), text); err != nil {
			return fmt.Errorf("demo data: %w", err)
		}
	}
	return nil
}

func writeOnce(path, text string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

const demoReadme = `This is the demo target: a shell on the gate, in a sandbox.

  customers.csv    customers with cards, IBANs, e-mail addresses and phone numbers
  orders.json      their orders
  app/             a service with secrets in its configuration
  old/             something to remove, after somebody has agreed

Nobody in here exists. What you see masked is masked on its way to you; the file has it in clear.
`

type person struct {
	ID                     int
	Name, Email, Phone     string
	Card, IBAN, SSN, Since string
}

var (
	firstNames = strings.Fields("Amara Bruno Chiara Diego Elif Farid Greta Hiroshi Ingrid Jonas Katya Lukas Mei Nadia Omar Priya Quentin Rosa Sven Tamar Umut Vera Wanda Xavier Yusuf Zofia")
	lastNames  = strings.Fields("Almeida Berger Conti Duarte Eriksen Fontaine Garcia Haddad Ivanova Jansen Kowalski Larsen Moreau Nakamura Okafor Petrov Quinn Rossi Schmidt Tanaka Ueda Vogel Weber Xu Yilmaz Zimmer")
	domains    = strings.Fields("example.com example.org example.net mail.example.com")
)

func newPerson(r *rand.Rand, i int) person {
	first, last := firstNames[r.IntN(len(firstNames))], lastNames[r.IntN(len(lastNames))]
	return person{
		ID: 1001 + i, Name: first + " " + last,
		Email: strings.ToLower(first + "." + last + "@" + domains[r.IntN(len(domains))]),
		Phone: fmt.Sprintf("+49 30 %04d %04d", r.IntN(10000), r.IntN(10000)),
		Card:  card(r, []string{"411111", "555555", "378282", "601111"}[r.IntN(4)]),
		IBAN:  iban(r), SSN: fmt.Sprintf("%03d-%02d-%04d", 100+r.IntN(500), 1+r.IntN(98), 1+r.IntN(9998)),
		Since: fmt.Sprintf("20%02d-%02d-%02d", 12+r.IntN(13), 1+r.IntN(12), 1+r.IntN(28)),
	}
}

// card returns a number with this prefix and a right check digit (ISO/IEC 7812-1, Luhn).
func card(r *rand.Rand, prefix string) string {
	length := 16
	if prefix[0] == '3' {
		length = 15
	}
	digits := []byte(prefix)
	for len(digits) < length-1 {
		digits = append(digits, byte('0'+r.IntN(10)))
	}
	sum := 0
	for i := range digits {
		d := int(digits[len(digits)-1-i] - '0')
		if i%2 == 0 {
			if d *= 2; d > 9 {
				d -= 9
			}
		}
		sum += d
	}
	return string(append(digits, byte('0'+(10-sum%10)%10)))
}

// iban returns a German IBAN with right check digits (ISO 13616, mod 97).
func iban(r *rand.Rand) string {
	account := fmt.Sprintf("99999999%010d", r.Int64N(1e10))
	rest := 0
	for _, c := range account + "131400" { // D is 13, E is 14, and 00 stands for the check digits
		rest = (rest*10 + int(c-'0')) % 97
	}
	return fmt.Sprintf("DE%02d%s", 98-rest, account)
}

func customersCSV(people []person) string {
	var b strings.Builder
	b.WriteString("id,name,email,phone,card,iban,ssn,customer_since\n")
	for _, p := range people {
		fmt.Fprintf(&b, "%d,%s,%s,%s,%s,%s,%s,%s\n", p.ID, p.Name, p.Email, p.Phone, p.Card, p.IBAN, p.SSN, p.Since)
	}
	return b.String()
}

func ordersJSON(r *rand.Rand, people []person) string {
	type order struct {
		Order    int     `json:"order"`
		Customer string  `json:"customer"`
		Email    string  `json:"email"`
		Card     string  `json:"card"`
		Amount   float64 `json:"amount"`
		Currency string  `json:"currency"`
	}
	orders := make([]order, 25)
	for i := range orders {
		p := people[r.IntN(len(people))]
		orders[i] = order{50001 + i, p.Name, p.Email, p.Card, float64(500+r.IntN(90000)) / 100, "EUR"}
	}
	b, err := json.MarshalIndent(orders, "", "  ")
	if err != nil {
		panic(err) // plain strings and numbers
	}
	return string(b) + "\n"
}

// configEnv has secrets in the forms that vendors give them. They are put together here so that nothing
// that scans sources for secrets takes them for real.
func configEnv() string {
	return strings.Join([]string{
		"APP_ENV=demo",
		"AWS_ACCESS_KEY_ID=" + "AKIA" + "IOSFODNN7EXAMPLE",
		"AWS_SECRET_ACCESS_KEY=" + "wJalrXUtnFEMI/K7MDENG/" + "bPxRfiCYEXAMPLEKEY",
		"GITHUB_TOKEN=" + "ghp_" + "16C7e42F292c6912E7710c838347Ae178B4a",
		"DATABASE_URL=postgres://app:" + "correct-horse-battery" + "@db.example.com:5432/shop",
		"LOG_LEVEL=info",
	}, "\n") + "\n"
}

func deployLog(r *rand.Rand) string {
	var b strings.Builder
	for i := range 60 {
		fmt.Fprintf(&b, "2026-11-%02dT%02d:%02d:%02dZ deploy build=%07x duration=%dms status=ok\n",
			1+i/3, r.IntN(24), r.IntN(60), r.IntN(60), r.IntN(1<<28), 200+r.IntN(4000))
	}
	return b.String()
}
