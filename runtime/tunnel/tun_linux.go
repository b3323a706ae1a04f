package tunnel

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

const (
	tunDevice = "/dev/net/tun"
	// tunName is the pattern for the interface's name. The kernel inserts the first
	// free number.
	tunName = "imdlua%d"
	// nextICMP6 and typeRouterAdvert identify router advertisements, which are kept
	// from the kernel: the address of a tunnel comes from its handshake only.
	nextICMP6        = 58
	typeRouterAdvert = 134
)

// kernelEnd is an interface of the kernel at the end of a tunnel.
type kernelEnd struct {
	kernelConns
	file *os.File
	ifc  string
	addr netip.Addr
	mtu  int
}

// newKernel creates an interface that exists until its file is closed.
func newKernel(t terms) (end, error) {
	fd, name, err := openTUN()
	if err != nil {
		return nil, err
	}
	if err := configure(name, t); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("interface %s: %w", name, err)
	}
	k := &kernelEnd{
		file: os.NewFile(uintptr(fd), tunDevice), ifc: name, addr: t.host.Addr(), mtu: t.mtu,
	}
	k.ctx, k.cancel = context.WithCancel(context.Background())
	return k, nil
}

// openTUN creates an interface for IP packets without link headers. The runtime must
// not poll the file before it is attached to the interface, because polling would
// report an error.
func openTUN() (fd int, name string, err error) {
	fd, err = unix.Open(tunDevice, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return 0, "", &os.PathError{Op: "open", Path: tunDevice, Err: err}
	}
	q, err := unix.NewIfreq(tunName)
	if err == nil {
		q.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, q)
	}
	if err != nil {
		unix.Close(fd)
		return 0, "", fmt.Errorf("new interface: %w", err)
	}
	return fd, q.Name(), nil
}

// configure sets the interface's MTU and address and brings it up.
func configure(name string, t terms) error {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	settings(name)
	q, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	q.SetUint32(uint32(t.mtu))
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFMTU, q); err != nil {
		return os.NewSyscallError("mtu", err)
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, q); err != nil {
		return os.NewSyscallError("index", err)
	}
	if err := addAddress(q.Uint32(), t.host); err != nil {
		return os.NewSyscallError("address", err)
	}
	q.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, q); err != nil {
		return os.NewSyscallError("up", err)
	}
	return nil
}

// addAddress adds an address by netlink. Only netlink can add it without duplicate
// address detection, which is useless without neighbours and would delay the use of the
// address.
//
// The request is: u32 length | u16 type | u16 flags | u32 number | u32 port, then u8
// family | u8 prefix | u8 flags | u8 scope | u32 interface, then the attribute u16
// length | u16 type | address. The answer has an i32 errno after the same header.
func addAddress(index uint32, p netip.Prefix) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	e := binary.NativeEndian
	q := e.AppendUint32(nil, unix.SizeofNlMsghdr+unix.SizeofIfAddrmsg+unix.SizeofRtAttr+16)
	q = e.AppendUint16(q, unix.RTM_NEWADDR)
	q = e.AppendUint16(q, unix.NLM_F_REQUEST|unix.NLM_F_ACK|unix.NLM_F_CREATE|unix.NLM_F_EXCL)
	q = e.AppendUint64(q, 0)
	q = append(q, unix.AF_INET6, byte(p.Bits()), unix.IFA_F_NODAD, unix.RT_SCOPE_UNIVERSE)
	q = e.AppendUint32(q, index)
	q = e.AppendUint16(q, unix.SizeofRtAttr+16)
	q = e.AppendUint16(q, unix.IFA_ADDRESS)
	q = append(q, p.Addr().AsSlice()...)
	if err := unix.Sendto(fd, q, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	answer := make([]byte, 4096)
	n, _, err := unix.Recvfrom(fd, answer, 0)
	if err != nil {
		return err
	}
	if n < unix.SizeofNlMsghdr+4 || e.Uint16(answer[4:]) != unix.NLMSG_ERROR {
		return unix.EBADMSG
	}
	if errno := -int32(e.Uint32(answer[unix.SizeofNlMsghdr:])); errno != 0 {
		return unix.Errno(errno)
	}
	return nil
}

// settings keeps the kernel from generating addresses and from soliciting routers. If
// the settings cannot be changed, for example in a container, such packets are only
// filtered.
func settings(name string) {
	for key, value := range map[string]string{
		"disable_ipv6": "0", "accept_ra": "0", "autoconf": "0", "addr_gen_mode": "1",
		"router_solicitations": "0",
	} {
		_ = os.WriteFile("/proc/sys/net/ipv6/conf/"+name+"/"+key, []byte(value), 0)
	}
}

func (k *kernelEnd) name() string { return k.ifc }

// inbound also lowers the segment size in the packets that arrive, as for a stack in
// this process. The kernel then sends no segment that is larger than the peer's SYN
// allows.
func (k *kernelEnd) inbound(c carrier) error {
	var b []byte
	for {
		head, body, _, err := c.receive()
		if err != nil {
			return err
		}
		b = append(b[:0], head.AsSlice()...)
		if body != nil {
			b = append(b, body.AsSlice()...)
		}
		drop(head)
		drop(body)
		routerAdvert := b[6] == nextICMP6 && len(b) > ipHeader && b[ipHeader] == typeRouterAdvert
		if len(b) > k.mtu || routerAdvert {
			continue
		}
		clampMSS(b, sendMSS)
		// A packet that the kernel rejects (EINVAL) or has no room for (ENOBUFS) is
		// lost, as on any link.
		_, err = k.file.Write(b)
		lost := errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOBUFS)
		if err != nil && !lost {
			return err
		}
	}
}

// outbound sends the packets of the kernel to the device.
func (k *kernelEnd) outbound(c carrier) error {
	b := make([]byte, maxPacket)
	for {
		n, err := k.file.Read(b)
		if err != nil {
			if errors.Is(err, os.ErrClosed) {
				err = net.ErrClosed
			}
			return err
		}
		p := b[:n]
		// The kernel sends multicast packets for neighbours and routers, which a tunnel
		// does not have.
		if n < ipHeader || p[0]>>4 != 6 || p[24] == 0xff {
			continue
		}
		if ipHeader+int(binary.BigEndian.Uint16(p[4:])) != n {
			continue
		}
		if err := c.send(p, 0); err != nil {
			return err
		}
	}
}

// fail removes the interface with all its connections.
func (k *kernelEnd) fail(cause error) {
	k.end(cause)
	k.file.Close()
}

func (k *kernelEnd) close() {}

// ListenTCP is Stack.ListenTCP on a socket of the kernel.
func (k *kernelEnd) ListenTCP(port uint16) (net.Listener, error) {
	return k.listen(netip.AddrPortFrom(k.addr, port))
}
