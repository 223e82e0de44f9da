/*
 * The Code type: an object file of kernels (ELF, x86-64, relocatable) placed in executable memory.
 *
 * Kernels use no symbol that their object does not define, so that placing sections and adding up a few kinds of
 * relocations links them: no linker and no LLVM is needed. Every offset is checked; damaged bytes raise ValueError.
 */
#define _DEFAULT_SOURCE /* MAP_ANONYMOUS */
#include <elf.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>

#include "binding.h"

enum { PAGE = 4096, MOST_SECTIONS = 1 << 16, NOWHERE = -1 };

typedef struct {
    PyObject_HEAD
    PyObject *object; /* bytes: the file */
    int64_t *places;  /* per section its offset in `memory`, or NOWHERE */
    char *memory;
    size_t bytes;
} Code;

/* ---- reading the file ---- */

struct file {
    const char *bytes;
    size_t n;
    uint32_t n_sections;
    uint64_t table; /* offset of the section headers */
};

/* Raise for a file that mlc does not place. Returns -1. */
static int refuse(const char *why)
{
    PyErr_Format(PyExc_ValueError, "an object file of kernels: %s", why);
    return -1;
}

static bool lies_within(const struct file *file, uint64_t offset, uint64_t n)
{
    return offset <= file->n && n <= file->n - offset;
}

static int open_file(struct file *file, PyObject *object)
{
    Elf64_Ehdr header;

    file->bytes = PyBytes_AsString(object);
    file->n = (size_t)PyBytes_Size(object);
    if (file->n < sizeof header)
        return refuse("it is too short");
    memcpy(&header, file->bytes, sizeof header);
    if (memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 || header.e_ident[EI_CLASS] != ELFCLASS64 ||
        header.e_ident[EI_DATA] != ELFDATA2LSB || header.e_type != ET_REL || header.e_machine != EM_X86_64)
        return refuse("it is no relocatable ELF file for x86-64");
    file->n_sections = header.e_shnum;
    file->table = header.e_shoff;
    if (header.e_shentsize != sizeof(Elf64_Shdr) || !header.e_shnum ||
        !lies_within(file, header.e_shoff, (uint64_t)header.e_shnum * sizeof(Elf64_Shdr)))
        return refuse("its section table is damaged");
    return 0;
}

/* Section i, whose contents lie within the file. */
static int read_section(const struct file *file, uint32_t i, Elf64_Shdr *section)
{
    if (i >= file->n_sections)
        return refuse("it names a section that is not there");
    memcpy(section, file->bytes + file->table + i * sizeof *section, sizeof *section);
    if (section->sh_type != SHT_NOBITS && !lies_within(file, section->sh_offset, section->sh_size))
        return refuse("a section lies outside of it");
    return 0;
}

/* Whether `section` is memory that kernels use: unwind tables are not. */
static bool is_placed(const Elf64_Shdr *section)
{
    return (section->sh_flags & SHF_ALLOC) && section->sh_type == SHT_PROGBITS && section->sh_size;
}

/* ---- placing ---- */

static int place(Code *self, const struct file *file, bool executable, size_t *end)
{
    for (uint32_t i = 0; i < file->n_sections; i++) {
        Elf64_Shdr section;
        if (read_section(file, i, &section))
            return -1;
        if (!is_placed(&section) || executable != !!(section.sh_flags & SHF_EXECINSTR))
            continue;
        size_t alignment = section.sh_addralign ? section.sh_addralign : 1;
        if (alignment > PAGE || alignment & (alignment - 1))
            return refuse("the alignment of a section is none");
        *end = (*end + alignment - 1) & ~(alignment - 1);
        self->places[i] = (int64_t)*end;
        *end += section.sh_size;
    }
    return 0;
}

/* Code first, then what it reads, in pages of their own. *code becomes the bytes of the pages of code. */
static int place_all(Code *self, const struct file *file, size_t *code)
{
    size_t end = 0;

    for (uint32_t i = 0; i < file->n_sections; i++)
        self->places[i] = NOWHERE;
    if (place(self, file, true, &end))
        return -1;
    end = *code = (end + PAGE - 1) & ~(size_t)(PAGE - 1);
    if (place(self, file, false, &end))
        return -1;
    self->bytes = (end + PAGE - 1) & ~(size_t)(PAGE - 1);
    if (!self->bytes)
        return refuse("it is empty");
    self->memory = mmap(NULL, self->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (self->memory == MAP_FAILED) {
        self->memory = NULL;
        PyErr_NoMemory();
        return -1;
    }
    for (uint32_t i = 0; i < file->n_sections; i++) {
        Elf64_Shdr section;
        if (self->places[i] != NOWHERE && !read_section(file, i, &section))
            memcpy(self->memory + self->places[i], file->bytes + section.sh_offset, section.sh_size);
    }
    return 0;
}

/* ---- relocations ---- */

/* The address of symbol `index` of the table `symbols`. */
static int symbol_address(const Code *self, const struct file *file, const Elf64_Shdr *symbols, uint64_t index,
                          uint64_t *address)
{
    Elf64_Sym symbol;
    Elf64_Shdr section;

    if (index >= symbols->sh_size / sizeof symbol)
        return refuse("a relocation names a symbol that is not there");
    memcpy(&symbol, file->bytes + symbols->sh_offset + index * sizeof symbol, sizeof symbol);
    if (symbol.st_shndx >= file->n_sections || self->places[symbol.st_shndx] == NOWHERE)
        return refuse("it uses a symbol that it does not define");
    if (read_section(file, symbol.st_shndx, &section))
        return -1;
    if (symbol.st_value > section.sh_size)
        return refuse("a symbol lies outside of its section");
    *address = (uint64_t)(uintptr_t)(self->memory + self->places[symbol.st_shndx]) + symbol.st_value;
    return 0;
}

/* Write one sum where the relocation says. */
static int relocate(const Code *self, const Elf64_Rela *relocation, uint32_t section, uint64_t size, uint64_t symbol)
{
    uint64_t type = ELF64_R_TYPE(relocation->r_info), offset = relocation->r_offset;
    uint64_t width = type == R_X86_64_64 || type == R_X86_64_PC64 ? 8 : 4;
    uint64_t value = symbol + (uint64_t)relocation->r_addend;

    if (offset > size || width > size - offset)
        return refuse("a relocation lies outside of its section");
    char *place = self->memory + self->places[section] + offset;
    if (type == R_X86_64_PC32 || type == R_X86_64_PLT32 || type == R_X86_64_PC64)
        value -= (uint64_t)(uintptr_t)place;
    else if (type != R_X86_64_64)
        return refuse("it has a relocation of an unknown kind");
    if (width == 4 && (int64_t)value != (int32_t)value)
        return refuse("a relocation does not reach");
    memcpy(place, &value, width); /* little-endian, as everything here */
    return 0;
}

static int relocate_all(const Code *self, const struct file *file)
{
    for (uint32_t i = 0; i < file->n_sections; i++) {
        Elf64_Shdr section, target, symbols;
        if (read_section(file, i, &section))
            return -1;
        if (section.sh_type != SHT_RELA || section.sh_info >= file->n_sections || self->places[section.sh_info] == NOWHERE)
            continue;
        if (read_section(file, section.sh_info, &target) || read_section(file, section.sh_link, &symbols))
            return -1;
        for (uint64_t at = 0; at + sizeof(Elf64_Rela) <= section.sh_size; at += sizeof(Elf64_Rela)) {
            Elf64_Rela relocation;
            uint64_t address;
            memcpy(&relocation, file->bytes + section.sh_offset + at, sizeof relocation);
            if (symbol_address(self, file, &symbols, ELF64_R_SYM(relocation.r_info), &address) ||
                relocate(self, &relocation, section.sh_info, target.sh_size, address))
                return -1;
        }
    }
    return 0;
}

/* ---- the type ---- */

static int link_object(Code *self)
{
    struct file file;
    size_t code;

    if (open_file(&file, self->object))
        return -1;
    self->places = PyMem_Malloc(file.n_sections * sizeof *self->places);
    if (!self->places) {
        PyErr_NoMemory();
        return -1;
    }
    if (place_all(self, &file, &code) || relocate_all(self, &file))
        return -1;
    if ((code && mprotect(self->memory, code, PROT_READ | PROT_EXEC)) ||
        (code < self->bytes && mprotect(self->memory + code, self->bytes - code, PROT_READ))) {
        PyErr_SetFromErrno(PyExc_OSError);
        return -1;
    }
    return 0;
}

static PyObject *code_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
    PyObject *object;

    if (keywords || !PyArg_ParseTuple(arguments, "S", &object))
        return keywords ? (PyErr_SetString(PyExc_TypeError, "Code takes one argument: bytes"), NULL) : NULL;
    Code *self = (Code *)((allocfunc)PyType_GetSlot(type, Py_tp_alloc))(type, 0);
    if (!self)
        return NULL;
    self->object = Py_NewRef(object);
    if (link_object(self))
        Py_CLEAR(self);
    return (PyObject *)self;
}

static void code_dealloc(PyObject *object)
{
    Code *self = (Code *)object;
    PyTypeObject *type = Py_TYPE(object);

    if (self->memory)
        munmap(self->memory, self->bytes);
    PyMem_Free(self->places);
    Py_XDECREF(self->object);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(object);
    Py_DECREF(type);
}

/* Whether the symbol at `index` of `symbols` is a defined function `name`; its address. */
static bool is_named(const Code *self, const struct file *file, const Elf64_Shdr *symbols, uint64_t index,
                     const char *name, uint64_t *address)
{
    Elf64_Sym symbol;
    Elf64_Shdr names;

    memcpy(&symbol, file->bytes + symbols->sh_offset + index * sizeof symbol, sizeof symbol);
    if (ELF64_ST_TYPE(symbol.st_info) != STT_FUNC || read_section(file, symbols->sh_link, &names))
        return false;
    size_t room = symbol.st_name < names.sh_size ? names.sh_size - symbol.st_name : 0, n = strlen(name) + 1;
    return n <= room && memcmp(file->bytes + names.sh_offset + symbol.st_name, name, n) == 0 &&
           !symbol_address(self, file, symbols, index, address);
}

static PyObject *code_address(PyObject *object, PyObject *name)
{
    Code *self = (Code *)object;
    struct file file;
    PyObject *encoded = PyUnicode_AsUTF8String(name);

    if (!encoded || open_file(&file, self->object)) {
        Py_XDECREF(encoded);
        return NULL;
    }
    uint64_t address = 0;
    for (uint32_t i = 0; !address && i < file.n_sections; i++) {
        Elf64_Shdr symbols;
        if (read_section(&file, i, &symbols) || symbols.sh_type != SHT_SYMTAB)
            continue;
        uint64_t n = symbols.sh_size / sizeof(Elf64_Sym), found;
        for (uint64_t s = 0; !address && s < n; s++)
            if (is_named(self, &file, &symbols, s, PyBytes_AsString(encoded), &found))
                address = found;
    }
    Py_DECREF(encoded);
    if (!address && !PyErr_Occurred())
        PyErr_SetObject(PyExc_KeyError, name);
    return PyErr_Occurred() ? NULL : PyLong_FromUnsignedLongLong(address);
}

static PyMethodDef code_methods[] = {
    {"address", code_address, METH_O, "The address of a function; KeyError where the object does not define it."},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef code_members[] = {
    {"object", T_OBJECT_EX, offsetof(Code, object), READONLY, "The bytes of the object file."},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot code_slots[] = {
    {Py_tp_doc, "Code(object_bytes): an object file of kernels in executable memory, as long as this object lives."},
    {Py_tp_new, code_new},
    {Py_tp_dealloc, code_dealloc},
    {Py_tp_methods, code_methods},
    {Py_tp_members, code_members},
    {0, NULL},
};

PyType_Spec code_spec = {
    .name = "mlc.runtime._array.Code",
    .basicsize = sizeof(Code),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = code_slots,
};
