//! QEMU's plugin interface, as far as it is used here: what QEMU calls, and what it is called for.

use core::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::sync::OnceLock;

use crate::count::{self, Counts};
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
    fn qemu_plugin_tb_vaddr(block: *const Block) -> u64;
    fn qemu_plugin_register_vcpu_tb_exec_cb(
        block: *mut Block,
        callback: extern "C" fn(c_uint, *mut c_void),
        flags: c_int,
        data: *mut c_void,
    );
    fn qemu_plugin_insn_data(insn: *const Insn) -> *const u8;
    fn qemu_plugin_insn_size(insn: *const Insn) -> usize;
    fn qemu_plugin_register_vcpu_insn_exec_inline(insn: *mut Insn, operation: c_int, word: *mut c_void, operand: u64);
    fn qemu_plugin_register_vcpu_insn_exec_cb(
        insn: *mut Insn,
        callback: extern "C" fn(c_uint, *mut c_void),
        flags: c_int,
        data: *mut c_void,
    );
    fn qemu_plugin_mem_is_store(info: u32) -> bool;
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
    let counts = Options::parse(arguments)
        .and_then(|options| Counts::new(options).map_err(|error| format!("the trace cannot be written: {error}")));
    let counts = match counts {
        Ok(counts) => counts,
        Err(reason) => {
            eprintln!("quoring-probe: {reason}");
            return 1;
        }
    };
    if COUNTS.set(counts).is_err() {
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
    let (address, len) = unsafe { (qemu_plugin_tb_vaddr(block), qemu_plugin_tb_n_insns(block)) };
    if let Some(number) = counts.block(address, len) {
        // SAFETY: the callback has the type that the interface asks for, and its data is a number that nobody follows as a pointer.
        unsafe { qemu_plugin_register_vcpu_tb_exec_cb(block, executed, NO_REGISTERS, number as usize as *mut c_void) };
    }
    for index in 0..len {
        // SAFETY: as above, and `index` is below the number of its instructions.
        let insn = unsafe { qemu_plugin_tb_get_insn(block, index) };
        // SAFETY: the instruction lives as long as the block; its data is as long as its size says.
        let bytes = unsafe { core::slice::from_raw_parts(qemu_plugin_insn_data(insn), qemu_plugin_insn_size(insn)) };
        watch(counts, insn, count::marker(bytes));
    }
}

fn watch(counts: &'static Counts, insn: *mut Insn, hint: Option<u8>) {
    // SAFETY: callbacks have the types that the interface asks for, and their data is a number that nobody follows as a pointer. The word that QEMU
    // adds to lives for ever, and only the one thread of the guest's one core writes it.
    unsafe {
        if let Some(hint) = hint {
            qemu_plugin_register_vcpu_insn_exec_cb(insn, marker, NO_REGISTERS, usize::from(hint) as *mut c_void);
        }
        qemu_plugin_register_vcpu_insn_exec_inline(insn, ADD, counts.total().as_ptr().cast(), 1);
        if counts.watches_stores() {
            qemu_plugin_register_vcpu_mem_cb(insn, stored, NO_REGISTERS, STORES, core::ptr::null_mut());
        }
    }
}

extern "C" fn executed(_core: c_uint, block: *mut c_void) {
    if let Some(counts) = COUNTS.get() {
        counts.executed(block as usize as u32);
    }
}

extern "C" fn marker(_core: c_uint, hint: *mut c_void) {
    if let Some(counts) = COUNTS.get() {
        counts.marker(hint as usize as u8);
    }
}

/// The guest has loaded or stored something; QEMU calls after it has, for loads too, whatever it was asked for.
extern "C" fn stored(_core: c_uint, info: u32, address: u64, _data: *mut c_void) {
    // SAFETY: it is what QEMU has just handed over.
    let is_store = unsafe { qemu_plugin_mem_is_store(info) };
    if is_store
        && let Some(counts) = COUNTS.get()
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
