//! Public and private addresses, for requests to hosts that callers have named.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Returns whether this address is on the public internet: not on this machine or this network, not the operator's, and
/// not unassigned (IANA's registries of special-purpose addresses, RFC 6890).
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    !matches!(
        (a, b, c),
        // This network, private use, loopback, carrier-grade NAT (RFC 6598), link-local with the clouds' metadata
        (0 | 10 | 127, _, _) | (100, 64..=127, _) | (169, 254, _) | (172, 16..=31, _) | (192, 168, _)
        // Protocol assignments, documentation, 6to4 relays, benchmarks
        | (192, 0, 0 | 2) | (192, 88, 99) | (198, 18 | 19, _) | (198, 51, 100) | (203, 0, 113)
        // Multicast, reserved, broadcast
        | (224..=255, _, _)
    )
}

/// Returns the part of an address that identifies a subscriber: of IPv6, the /64.
pub fn subscriber(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
        address => address,
    }
}

/// Returns whether an IPv6 address is public. Global unicast is what IANA has allocated of 2000::/3. Everything else is
/// private, local or a mapped IPv4 address, except for the well-known prefix of NAT64 (RFC 6052 section 2.1): in a
/// network without IPv4, every IPv4 host has such an address, which is as public as the IPv4 address in it.
fn is_public_v6(address: Ipv6Addr) -> bool {
    let [a, b, .., high, low] = address.segments();
    if address.segments()[..6] == [0x64, 0xff9b, 0, 0, 0, 0] {
        return is_public_v4(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)));
    }
    let special = match a {
        // Protocol assignments with Teredo and ORCHID, documentation
        0x2001 => b < 0x0200 || b == 0x0db8,
        // 6to4: an IPv4 address inside
        0x2002 => true,
        // Documentation
        0x3fff => b < 0x1000,
        _ => false,
    };
    (0x2000..0x4000).contains(&a) && !special
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(addresses: &[&str], public: bool) {
        for text in addresses {
            let address: IpAddr = text.parse().expect("an address");
            assert_eq!(is_public(address), public, "{text}");
        }
    }

    #[test]
    fn public_addresses_are_public() {
        all(&["1.1.1.1", "8.8.8.8", "100.63.255.255", "100.128.0.0", "172.15.0.1", "172.32.0.1"], true);
        all(&["192.0.1.1", "192.169.0.1", "198.17.0.1", "223.255.255.255", "169.253.1.1"], true);
        all(
            &["2606:4700:4700::1111", "2001:4860:4860::8888", "2a00:1450::1", "2001:200::1", "3fff:1000::1"],
            true,
        );
    }

    #[test]
    fn other_addresses_are_not_public() {
        all(&["0.0.0.0", "0.1.2.3", "10.0.0.1", "127.0.0.1", "127.255.0.1", "169.254.169.254"], false);
        all(&["100.64.0.1", "100.127.255.255", "172.16.0.1", "172.31.255.255", "192.168.1.1"], false);
        all(&["192.0.0.8", "192.0.2.1", "192.88.99.1", "198.18.0.1", "198.19.1.1", "198.51.100.1"], false);
        all(&["203.0.113.1", "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255"], false);
        all(&["::", "::1", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "::127.0.0.1", "64:ff9b::7f00:1"], false);
        all(&["64:ff9b:1::1", "100::1", "fc00::1", "fd12::1", "fe80::1", "fec0::1", "ff02::1"], false);
        all(&["2001::1", "2001:2::1", "2001:10::1", "2001:20::1", "2001:db8::1", "2002:7f00:1::1"], false);
        all(&["3fff::1", "5f00::1", "4000::1", "1fff::1"], false);
    }

    #[test]
    fn nat64_addresses_are_public_if_the_embedded_address_is() {
        all(&["64:ff9b::8.8.8.8", "64:ff9b::1.1.1.1"], true);
        all(
            &["64:ff9b::10.0.0.1", "64:ff9b::127.0.0.1", "64:ff9b::169.254.169.254", "64:ff9b::192.168.1.1"],
            false,
        );
        // For use inside a network (RFC 8215), or not the prefix.
        all(&["64:ff9b:1::8.8.8.8", "64:ff9b::1:808:808", "64:ff9b:0:1::8.8.8.8"], false);
    }
}
