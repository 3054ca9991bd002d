package bed

import (
	"context"
	"fmt"
)

// Remove takes a host away for good, its disk included. The next AddHost may give its name and address to a new one.
func (b *Bed) Remove(ctx context.Context, host string) error {
	unlock, err := b.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	h, err := b.find(host)
	if err != nil {
		return fmt.Errorf("remove: %w", err)
	}
	return b.erase(ctx, h.Name)
}
