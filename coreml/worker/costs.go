package worker

import (
	"errors"
	"fmt"
	"sync"

	"lockstep/coreml"
)

// ErrGivenUp means that a call was not made, since the last ones like it broke
// their workers; it is wrapped beside coreml.ErrBroken.
var ErrGivenUp = errors.New("not tried again")

// maxCost is how many workers in a row a call may cost before it is given up: a
// cold load that hangs takes 20 minutes each time, and a gate has dozens of
// cases.
const maxCost = 2

// costs are the workers that calls have cost. The zero value is ready.
type costs struct {
	mu   sync.Mutex
	rows map[call]row
}

// call is what was being done to which package.
type call struct{ dir, doing string }

// row is how many workers in a row broke at a call.
type row struct {
	count int
	last  error
}

// admit refuses a call that has been given up.
func (c *costs) admit(dir, doing string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if r := c.rows[call{dir, doing}]; r.count >= maxCost {
		return fmt.Errorf("%w: worker: %w after %d workers in a row; the last: %w", coreml.ErrBroken, ErrGivenUp, r.count, r.last)
	}
	return nil
}

// note takes down how a call ended.
func (c *costs) note(dir, doing string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := call{dir, doing}
	if !errors.Is(err, coreml.ErrBroken) {
		delete(c.rows, key)
		return
	}
	if c.rows == nil {
		c.rows = map[call]row{}
	}
	c.rows[key] = row{c.rows[key].count + 1, err}
}
