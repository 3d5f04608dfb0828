// What applesauce wants of a pool of relays, which it leaves to its user; here nostr-tools'.

import { Observable } from 'rxjs'

/** Return the two methods over `pool`, a SimplePool. */
export const methodsOf = pool => ({
  subscriptionMethod: (relays, filters) =>
    new Observable(observer => {
      const subscription = pool.subscribeMany(relays, filters[0], {
        onevent: event => observer.next(event),
        onclose: () => setTimeout(() => observer.complete(), 100), // it then repeats
      })
      return () => subscription.close()
    }),
  publishMethod: (relays, event) => Promise.any(pool.publish(relays, event)),
})
