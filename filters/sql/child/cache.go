package child

import "container/list"

// A cache remembers readings by their exact text, the latest used of them.
type cache struct {
	size    int
	order   *list.List // of *entry, latest first
	entries map[string]*list.Element
}

type entry struct {
	text    string
	reading *Reading
}

func newCache(size int) *cache {
	return &cache{size: size, order: list.New(), entries: map[string]*list.Element{}}
}

func (c *cache) get(text string) *Reading {
	e := c.entries[text]
	if e == nil {
		return nil
	}
	c.order.MoveToFront(e)
	return e.Value.(*entry).reading
}

func (c *cache) put(text string, r *Reading) {
	if e := c.entries[text]; e != nil {
		e.Value.(*entry).reading = r
		return
	}
	if len(c.entries) >= c.size {
		last := c.order.Back()
		c.order.Remove(last)
		delete(c.entries, last.Value.(*entry).text)
	}
	c.entries[text] = c.order.PushFront(&entry{text, r})
}
