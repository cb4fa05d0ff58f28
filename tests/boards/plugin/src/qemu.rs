//! QEMU's plugin interface, as far as it is used here: what QEMU calls, and what it is called for.

use core::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::sync::OnceLock;
use std::sync::atomic::AtomicU64;

use crate::count::{Counts, Instruction};
use crate::options::Options;

/// The version of the interface that this plugin is written to.
// SAFETY: no other symbol of this library or of QEMU has this name: QEMU looks it up in the plugin.
#[unsafe(no_mangle)]
pub static qemu_plugin_version: c_int = 1;

/// What is counted: there is one guest in a process.
static COUNTS: OnceLock<Counts> = OnceLock::new();

/// A block of instructions that is translated at once. QEMU's own.
#[repr(C)]
struct Block {
    _opaque: [u8; 0],
}

/// An instruction of a block. QEMU's own.
#[repr(C)]
struct Insn {
    _opaque: [u8; 0],
}

/// The callback looks at no register.
const NO_REGISTERS: c_int = 0;
/// Add a number to a word of 64 bits.
const ADD: c_int = 0;
/// Call for stores only.
const STORES: c_int = 2;

unsafe extern "C" {
    fn qemu_plugin_register_vcpu_tb_trans_cb(id: u64, callback: extern "C" fn(u64, *mut Block));
    fn qemu_plugin_register_atexit_cb(id: u64, callback: extern "C" fn(u64, *mut c_void), data: *mut c_void);
    fn qemu_plugin_tb_n_insns(block: *const Block) -> usize;
    fn qemu_plugin_tb_get_insn(block: *const Block, index: usize) -> *mut Insn;
    fn qemu_plugin_insn_data(insn: *const Insn) -> *const u8;
    fn qemu_plugin_insn_size(insn: *const Insn) -> usize;
    fn qemu_plugin_insn_vaddr(insn: *const Insn) -> u64;
    fn qemu_plugin_register_vcpu_insn_exec_inline(insn: *mut Insn, operation: c_int, word: *mut c_void, operand: u64);
    fn qemu_plugin_register_vcpu_insn_exec_cb(
        insn: *mut Insn,
        callback: extern "C" fn(c_uint, *mut c_void),
        flags: c_int,
        data: *mut c_void,
    );
    fn qemu_plugin_register_vcpu_mem_cb(
        insn: *mut Insn,
        callback: extern "C" fn(c_uint, u32, u64, *mut c_void),
        flags: c_int,
        accesses: c_int,
        data: *mut c_void,
    );
}

/// What QEMU calls after it has loaded the plugin. An answer that is not 0 ends QEMU.
///
/// # Safety
/// `arguments` are `count` C strings.
// SAFETY: no other symbol of this library or of QEMU has this name: QEMU looks it up in the plugin.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qemu_plugin_install(
    id: u64,
    _info: *const c_void,
    count: c_int,
    arguments: *const *const c_char,
) -> c_int {
    let count = usize::try_from(count).unwrap_or(0);
    let arguments = (0..count).map(|index| {
        // SAFETY: QEMU passes that many pointers to C strings, which live while this runs.
        unsafe { CStr::from_ptr(*arguments.add(index)) }.to_string_lossy()
    });
    let options = match Options::parse(arguments) {
        Ok(options) => options,
        Err(reason) => {
            eprintln!("quoring-probe: {reason}");
            return 1;
        }
    };
    if COUNTS.set(Counts::new(options)).is_err() {
        eprintln!("quoring-probe: loaded twice");
        return 1;
    }
    // SAFETY: `id` is what QEMU has just given to this plugin, and the callbacks have the types that the interface asks for.
    unsafe {
        qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
        qemu_plugin_register_atexit_cb(id, ended, core::ptr::null_mut());
    }
    0
}

/// QEMU translates a block: says what is to be counted of it.
extern "C" fn translated(_id: u64, block: *mut Block) {
    let Some(counts) = COUNTS.get() else { return };
    // SAFETY: QEMU lends the block for the time of this call.
    let len = unsafe { qemu_plugin_tb_n_insns(block) };
    for index in 0..len {
        // SAFETY: as above, and `index` is below the number of its instructions.
        let insn = unsafe { qemu_plugin_tb_get_insn(block, index) };
        // SAFETY: the instruction lives as long as the block; its data is as long as its size says.
        let (address, bytes) = unsafe {
            let bytes = core::slice::from_raw_parts(qemu_plugin_insn_data(insn), qemu_plugin_insn_size(insn));
            (qemu_plugin_insn_vaddr(insn), bytes)
        };
        watch(counts, insn, address, Instruction::of(bytes));
    }
}

fn watch(counts: &'static Counts, insn: *mut Insn, address: u64, instruction: Instruction) {
    let callback: Option<(extern "C" fn(c_uint, *mut c_void), usize)> = match instruction {
        Instruction::Marker(hint) => Some((marker, usize::from(hint))),
        Instruction::Mask => Some((masked, address as usize)),
        Instruction::Unmask => Some((unmasked, 0)),
        Instruction::Lock => Some((locked, address as usize)),
        Instruction::Unlock => Some((unlocked, 0)),
        Instruction::Other => None,
    };
    // SAFETY: callbacks have the types that the interface asks for, and their data is a number that nobody follows as a pointer. The words that QEMU adds to
    // live for ever, and only the one thread of the guest's one core writes them.
    unsafe {
        if let Some((callback, data)) = callback {
            qemu_plugin_register_vcpu_insn_exec_cb(insn, callback, NO_REGISTERS, data as *mut c_void);
        }
        qemu_plugin_register_vcpu_insn_exec_inline(insn, ADD, word(counts.total()), 1);
        if let Some(counter) = counts.at(address) {
            qemu_plugin_register_vcpu_insn_exec_inline(insn, ADD, word(counter), 1);
        }
        if counts.watches_stores() {
            qemu_plugin_register_vcpu_mem_cb(insn, stored, NO_REGISTERS, STORES, core::ptr::null_mut());
        }
    }
}

fn word(counter: &'static AtomicU64) -> *mut c_void {
    counter.as_ptr().cast()
}

extern "C" fn marker(_core: c_uint, hint: *mut c_void) {
    if let Some(counts) = COUNTS.get() {
        counts.marker(hint as usize as u8);
    }
}

extern "C" fn masked(_core: c_uint, address: *mut c_void) {
    if let Some(counts) = COUNTS.get() {
        counts.masked(address as usize as u64);
    }
}

extern "C" fn unmasked(_core: c_uint, _data: *mut c_void) {
    if let Some(counts) = COUNTS.get() {
        counts.unmasked();
    }
}

extern "C" fn locked(_core: c_uint, address: *mut c_void) {
    if let Some(counts) = COUNTS.get() {
        counts.locked(address as usize as u64);
    }
}

extern "C" fn unlocked(_core: c_uint, _data: *mut c_void) {
    if let Some(counts) = COUNTS.get() {
        counts.unlocked();
    }
}

/// The guest has stored something; QEMU calls after it has.
extern "C" fn stored(_core: c_uint, _info: u32, address: u64, _data: *mut c_void) {
    if let Some(counts) = COUNTS.get()
        && counts.stored(address)
    {
        // SAFETY: a signal to this process; it ends here, before the guest's next instruction.
        unsafe { libc::raise(libc::SIGKILL) };
    }
}

extern "C" fn ended(_id: u64, _data: *mut c_void) {
    if let Some(counts) = COUNTS.get()
        && let Err(error) = counts.report()
    {
        eprintln!("quoring-probe: the report cannot be written: {error}");
    }
}
