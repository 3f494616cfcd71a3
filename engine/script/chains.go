package script

import "go.starlark.net/starlark"

// chains follows values through those they hold, up to where ends says so, without recursing. Unlike a measure it finds what
// each way through them adds up to.
type chains struct {
	ends  func(v starlark.Value, id any) bool
	known map[any]link // by the values' identity; zero while they are followed

	circle []starlark.Value // the first that was met, outermost value first; nil if there is none
}

// link is what was found about a value.
type link struct {
	length int // how many values there are in the longest chain from it on
	visits int // how many times a value is come to from it on, by every way to it; no more than tooManyVisits
}

// followed is a value that is being followed.
type followed struct {
	value starlark.Value
	id    any
	parts []starlark.Value // left to follow
	link
}

func (l *link) add(part link) {
	l.length = max(l.length, part.length)
	l.visits = min(l.visits+part.visits, tooManyVisits)
}

func (c *chains) follow(v starlark.Value) link {
	var open []followed
	enter := func(v starlark.Value) link {
		id := identity(v)
		if id == nil || c.ends(v, id) {
			return link{visits: 1}
		}
		if l, known := c.known[id]; known {
			if l.length == 0 && c.circle == nil {
				for i := range open {
					if open[i].id == id || c.circle != nil {
						c.circle = append(c.circle, open[i].value)
					}
				}
			}
			return l
		}
		inner, visits := parts(v), 1+max(0, starlark.Len(v))
		if len(inner) == 0 && visits <= fewParts {
			return link{1, visits}
		}
		c.known[id] = link{}
		open = append(open, followed{v, id, inner, link{visits: visits}})
		return link{}
	}
	last := enter(v)
	for len(open) > 0 {
		top := len(open) - 1
		if n := len(open[top].parts); n > 0 {
			part := open[top].parts[n-1]
			open[top].parts = open[top].parts[:n-1]
			l := enter(part) // may move open
			open[top].add(l)
			continue
		}
		last = open[top].link
		last.length++
		c.known[open[top].id] = last
		if open = open[:top]; top > 0 {
			open[top-1].add(last)
		}
	}
	return last
}
