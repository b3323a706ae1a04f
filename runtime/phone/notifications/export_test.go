package notifications

const ObserverQueue = observerQueue

// Observers counts the observers that are open.
func (c *Center) Observers() int { return len(c.observers) }
